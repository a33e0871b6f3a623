"""Subtract the projections of a part of the map from the particles' images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.conventions import MIN_BOX
from vitreous.errors import InputError, OptionError, OutputError
from vitreous.io.mrc import read_map, stack_writer
from vitreous.jobs.compare import cubic
from vitreous.jobs.config_particles import SubtractConfig
from vitreous.jobs.folder import OnEvent, ignore, prepare_folder
from vitreous.jobs.maps.half_maps import read_mask
from vitreous.jobs.particles.framing import Framing, framed
from vitreous.jobs.particles.projections import Projector, batch_size
from vitreous.jobs.particles.revert import ORIGINAL, reverted
from vitreous.jobs.particles.scales import image_scales
from vitreous.jobs.record import job_record, write_record
from vitreous.particles.poses import Poses, read_poses
from vitreous.particles.selection import CLASS
from vitreous.particles.stack import ImageSource, open_images, windows
from vitreous.particles.table import (
    ParticleTable,
    image_names,
    read_particles,
    require_ctf,
    write_particles,
)
from vitreous.physics.project import map_to_cube

_SAME_PIXEL = 0.01
"""Relative difference between pixel sizes that a header may make by rounding."""


Work = Callable[[OnEvent], "Subtracted"]
"""What remains to be done once the input is read and checked."""


@dataclass(frozen=True)
class Subtracted:
    """What :func:`run_subtract` wrote.

    Attributes
    ----------
    star : Path
    scales : dict
        Scale of the map by number of the optics group; empty after a reversion.
    warnings : tuple of str
    """

    star: Path
    scales: dict[int, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """The map, and what of it is kept."""

    volume: Float[Tensor, "n n n"]
    mask: Float[Tensor, "n n n"]
    warnings: tuple[str, ...]

    @property
    def box(self) -> int:
        return int(self.volume.shape[-1])

    def centre_of_mass(self, pixel_size: float) -> Float[np.ndarray, " 3"]:
        """Of the mask: x, y, z in angstrom from the centre."""
        axis = torch.arange(self.box, dtype=torch.float64) - self.box // 2
        mass = self.mask.double()
        sums = (mass.sum(dim=[d for d in range(3) if d != along]) @ axis for along in (2, 1, 0))
        return np.array([float(total / mass.sum()) for total in sums]) * pixel_size


def _check(config: SubtractConfig) -> None:
    for bad, what, option in (
        (not config.fit_resolution > 0, "not more than 0 A", "--fit-resolution"),
        (
            config.particle_scale == "fitted" and config.greyscale == "absolute",
            "a scale fitted to each particle leaves no absolute one",
            "--particle-scale, --greyscale",
        ),
        (
            config.box is not None and (config.box % 2 == 1 or config.box < MIN_BOX),
            f"a box of {config.box} px, expected an even one of at least {MIN_BOX}",
            "--box",
        ),
        (not config.revert and config.map is None, "a map is needed", "--map"),
        (not config.revert and config.mask is None, "a mask of what is kept is needed", "--mask"),
    ):
        if bad:
            raise OptionError(what, where=option, mend="see vitreous subtract --help")


def _part(config: SubtractConfig, table: ParticleTable) -> _Part:
    """The map and its mask, on the grid of all images."""
    assert config.map is not None and config.mask is not None
    array, pixel_size = read_map(config.map)
    volume = cubic(array, config.map)
    box = int(volume.shape[-1])
    for group in table.optics:
        if group.box != box or abs(group.pixel_size / pixel_size - 1) > _SAME_PIXEL:
            raise InputError(
                f"has {box} px of {pixel_size:g} A, but the images of optics group "
                f"{group.number} {group.box} px of {group.pixel_size:g} A",
                where=config.map,
                mend="give the map of a refinement of these images, on their grid",
            )
    if config.box is not None and config.box > box:
        raise OptionError(
            f"{config.box} px, but the images have {box}", where="--box", mend="give fewer"
        )
    mask = read_mask(config.mask, config.map, box, pixel_size)
    if float(mask.volume.min()) > 0.99:
        raise InputError(
            "keeps the whole map, so there is nothing to subtract",
            where=config.mask,
            mend="give a mask that is 1 on the part to keep and 0 elsewhere",
        )
    return _Part(volume, mask.volume, mask.warnings)


def _read(config: SubtractConfig) -> ParticleTable:
    table = read_particles(config.particles)
    if ORIGINAL in table.columns:
        raise InputError(
            f"the column _{ORIGINAL} says that something was subtracted already",
            where=config.particles,
            mend="take that back with --revert first",
        )
    if config.ctf:
        require_ctf(table)
    return table


def _batches(count: int, size: int) -> Iterator[Int[np.ndarray, " m"]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def _write_images(
    stack: Path,
    source: ImageSource,
    subtrahend: Callable[[np.ndarray], Tensor],
    framing: Framing | None,
    box: int,
    on_event: OnEvent,
) -> None:
    count, out = len(source.table), framing.box if framing else box
    with stack_writer(stack, out, count, source.table.optics[0].pixel_size) as writer:
        for rows in _batches(count, batch_size(box)):
            images = torch.from_numpy(source.read(rows)) - subtrahend(rows)
            if framing is not None:
                images = windows(images, torch.from_numpy(framing.shifts[rows]), out)
            writer.append(images.numpy())
            done = int(rows[-1]) + 1
            on_event({"event": "progress", "stage": "subtracting", "iteration": done, "of": count})


@dataclass(frozen=True)
class _Inputs:
    """What a subtraction begins with, read and checked."""

    source: ImageSource
    poses: Poses
    part: _Part

    @property
    def table(self) -> ParticleTable:
        return self.source.table


def _spare(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write into a folder that the input lies in."""
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise OutputError(f"holds the input {path}", where=out, mend="give another --out")


def _open(config: SubtractConfig) -> Work:
    table = _read(config)
    inputs = _Inputs(open_images(table), read_poses(table), _part(config, table))
    paths = (config.particles, config.map, config.mask, *table.stacks)
    _spare(config.out, (path for path in paths if path is not None))
    return partial(_subtract, config, inputs)


def _framing(config: SubtractConfig, inputs: _Inputs) -> Framing | None:
    """Where the images are to be moved to; None if they stay as they are."""
    if not config.recentre_on_mask and config.box is None:
        return None
    part, table = inputs.part, inputs.table
    on_mask = config.recentre_on_mask
    centre = part.centre_of_mass(table.optics[0].pixel_size) if on_mask else np.zeros(3)
    return framed(table, inputs.poses, centre, config.box or part.box)


def _subtract(config: SubtractConfig, inputs: _Inputs, on_event: OnEvent) -> Subtracted:
    table, part = inputs.table, inputs.part
    project = Projector(table, inputs.poses, part.box, config.ctf, config.phase_flipped)
    scales = image_scales(config, inputs.source, project, part.volume, on_event)
    rest = map_to_cube((part.volume * (1 - part.mask))[None], part.box // 2)
    framing = _framing(config, inputs)
    stack = config.out / "particles.mrcs"

    def subtrahend(rows: np.ndarray) -> Tensor:
        scale = torch.from_numpy(scales.of_particle[rows]).float()
        return project(rest, rows) * scale[:, None, None]

    _write_images(stack, inputs.source, subtrahend, framing, part.box, on_event)
    star = config.out / "particles.star"
    write_particles(star, _described(table, framing, stack))
    warnings = (*part.warnings, *_class_warnings(table))
    record = {
        **job_record("subtract", config),
        "input": {"particles": len(table), "box": part.box},
        "scales": scales.record,
        "centre": framing and framing.centre,
        "box": framing.box if framing else part.box,
        "warnings": warnings,
    }
    write_record(config.out, record)
    return Subtracted(star, scales.of_group, warnings)


def _described(table: ParticleTable, framing: Framing | None, stack: Path) -> ParticleTable:
    """Table of the images written, with the names of those they were made from."""
    originals = image_names(table, stack.parent, keep=True).alias(ORIGINAL)
    moved = table if framing is None else framing.described(table)
    frame = moved.block.frame.with_columns(originals)
    return replace(
        moved,
        block=moved.block.with_frame(frame),
        stacks=(stack,),
        stack_of=np.zeros(len(table), dtype=np.int32),
        index_in_stack=np.arange(len(table)),
    )


def _class_warnings(table: ParticleTable) -> tuple[str, ...]:
    if CLASS not in table.columns or table.block.frame[CLASS].n_unique() == 1:
        return ()
    words = "The particles are of several classes: one map was subtracted from all of them."
    return (words,)


def _open_to_revert(config: SubtractConfig) -> Work:
    table, warnings = reverted(read_particles(config.particles, need_images=False))
    _spare(config.out, (config.particles, *table.stacks))
    return partial(_revert, config, table, warnings)


def _revert(
    config: SubtractConfig, table: ParticleTable, warnings: tuple[str, ...], _: OnEvent
) -> Subtracted:
    star = config.out / "particles.star"
    write_particles(star, table, keep_names=True)
    record = {**job_record("subtract", config), "scales": [], "warnings": warnings}
    write_record(config.out, record)
    return Subtracted(star, {}, warnings)


def run_subtract(config: SubtractConfig, on_event: OnEvent = ignore) -> Subtracted:
    """Subtract a part of a map from particles, or give them their images back.

    Writes particles.star, result.json and, but for a reversion, particles.mrcs into a fresh folder
    that is removed again if anything fails.

    Raises
    ------
    VitreousError
        For files and options that cannot be used.
    """
    _check(config)
    work = (_open_to_revert if config.revert else _open)(config)
    prepare_folder(config.out, overwrite=config.overwrite)
    try:
        on_event({"event": "start", "job": "subtract"})
        done = work(on_event)
        on_event({"event": "done", "out": str(config.out)})
    except BaseException:
        shutil.rmtree(config.out, ignore_errors=True)
        raise
    return done
