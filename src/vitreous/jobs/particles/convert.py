"""The same particles in another program's format, and back without loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vitreous.config.particles import ConvertConfig
from vitreous.errors import OptionError
from vitreous.io.star import read_star
from vitreous.particles.cistem import (
    is_cistem,
    is_of_cistem,
    known_of,
    read_cistem,
    read_frealign,
    write_cistem,
    write_frealign,
)
from vitreous.particles.conversion import as_cryosparc, as_relion, uids_of
from vitreous.particles.cryosparc.columns import CryosparcColumns
from vitreous.particles.eman_images import copied_images, lie_in_hdf
from vitreous.particles.files import placed, read_particles
from vitreous.particles.micrographs import with_y_inverted
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.files import has_images, relion_set
from vitreous.particles.relion.layouts import in_layout
from vitreous.particles.restored import Restored, as_before, restored
from vitreous.particles.side_table import read_side_table, side_path, write_side_table
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.targets import inputs_of, spared

Change = Callable[[ParticleSet], ParticleSet]


@dataclass(frozen=True)
class Conversion:
    """What :func:`run_convert` wrote.

    Attributes
    ----------
    path : Path
    side : Path or None
        Table with what the format has no columns for.
    particles : int
    notes : tuple of str
        What a user should know of the particles, and of how they were converted.
    """

    path: Path
    side: Path | None
    particles: int
    notes: tuple[str, ...]


def _target(config: ConvertConfig) -> str:
    """Format asked for: cs or the layout of a STAR file."""
    suffix = config.out.suffix.casefold()
    if suffix not in (".star", ".cs", ".par"):
        raise OptionError(
            f"{config.out.name} has a name of no format that is written",
            where="--out",
            hint="end it in .star, .cs or .par",
        )
    return config.layout if suffix == ".star" else suffix[1:]


def _format_of(particles: ParticleSet) -> str:
    if isinstance(particles.carried, CryosparcColumns):
        return "cs"
    return "3.1" if particles.carried.has_optics else "3.0"


def _with_uids(particles: ParticleSet) -> ParticleSet:
    """Particles under the uids that cryoSPARC may know them by."""
    return particles.with_fields(uid=pl.Series(uids_of(particles)).cast(pl.String))


def _into(target: str, path: Path, invert_y: bool) -> Change:
    """Change of particles into a format, for a file at a place."""

    def change(particles: ParticleSet) -> ParticleSet:
        found = placed(particles, path.parent)
        marked = _with_uids(with_y_inverted(found) if invert_y else found)
        if target == "cs":
            return as_cryosparc(marked, path)
        if target in ("cistem", "par"):
            return marked
        return in_layout(as_relion(marked, path), "3.0" if target == "3.0" else "3.1")

    return change


def _from_side(config: ConvertConfig, particles: ParticleSet, target: str) -> Restored | None:
    """Particles as their side table has them, with what was changed since; None without one."""
    path = config.side or side_path(config.particles)
    if config.no_side or (config.side is None and not path.is_file()):
        return None
    side = read_side_table(path)
    if _format_of(side.particles) != target:
        return None
    old = as_before(particles, side)
    del side  # it holds a second table of the same size if the rows are in another order
    if old is None:
        return None
    if is_of_cistem(particles):
        same = _into(target, config.particles, config.invert_y)
        return restored(particles, old, same, known_of(particles))
    back = _into(_format_of(particles), config.particles, config.invert_y)
    return restored(particles, old, back)


def _of_eman(config: ConvertConfig) -> ParticleSet:
    """Particles of EMAN2; images in its own files are written beside the table, as MRC."""
    from vitreous.particles.eman import listed_images, read_eman  # torch, which takes seconds

    path, size = config.particles, config.pixel_size
    images = listed_images(path)
    if config.stack is None and lie_in_hdf(images):
        stack = spared(config.out.with_suffix(".mrcs"), [path], config.overwrite)
        images = copied_images(images, path, stack, size)
    return read_eman(path, images, config.stack, size)


def _read(config: ConvertConfig) -> ParticleSet:
    """Particles of any format that is read."""
    path, suffix = config.particles, config.particles.suffix.casefold()
    if suffix in (".lst", ".hdf"):
        return _of_eman(config)
    if suffix == ".par":
        return read_frealign(path, config.stack, config.pixel_size)
    if suffix == ".star":
        blocks = read_star(path)
        found = next((block for block in blocks.values() if is_cistem(block)), None)
        if found is not None and not has_images(found):
            return read_cistem(found.frame, path, config.stack, config.pixel_size)
        return relion_set(blocks, path, need_images=False)
    return read_particles(path, need_images=False)


def _write(particles: ParticleSet, config: ConvertConfig, target: str) -> None:
    if target in ("cistem", "par"):
        (write_cistem if target == "cistem" else write_frealign)(config.out, particles)
        return
    columns = particles.written
    if isinstance(columns, CryosparcColumns):
        columns.write(config.out, config.cs_layout)
    else:
        columns.write(config.out)


def _notes(particles: ParticleSet, target: str) -> tuple[str, ...]:
    sign = particles.image_sign
    dark = sign is not None and (sign < 0).any() and target != "cs"
    mrc = target != "cs" and any(stack.suffix == ".mrc" for stack in particles.stacks)
    return (
        *particles.notes,
        *(["Images are dark on light: RELION needs them inverted (relion_preprocess "
           "--operate_on FILE --invert_contrast)."] if dark else []),
        *(["RELION takes files that end in .mrc for volumes: link the stacks under names in "
           ".mrcs."] if mrc else []),
    )  # fmt: skip


def run_convert(config: ConvertConfig, on_event: OnEvent = ignore) -> Conversion:
    """Convert particles to another format.

    A side table beside the result holds the particles as they were: a later conversion of the
    result, or of some of its rows, finds all that the format has no columns for, and every cell
    that was not changed since.

    Raises
    ------
    VitreousError
        For files and options that cannot be used.
    """
    inputs = [path for path in inputs_of(config) if path != config.picture]
    target, side = _target(config), None if config.no_side else side_path(config.out)
    for path in filter(None, (config.out, side, config.picture)):
        spared(path, inputs, config.overwrite)
    particles = _read(config)
    spared(config.out, [*inputs, *particles.stacks], config.overwrite)
    found = _from_side(config, particles, target)
    if found is None:
        made = _into(target, config.out, config.invert_y)(particles)
        uids = made.uid
    else:
        made, uids = placed(found.particles, config.out.parent), particles.uid
        side = side if found.unknown and uids is not None else None
    _write(made, config, target)
    if side is not None:
        assert uids is not None
        write_side_table(side, particles, uids)
    notes = _notes(particles, target)
    on_event({"event": "converted", "particles": len(particles), "notes": notes})
    return Conversion(config.out, side, len(particles), notes)
