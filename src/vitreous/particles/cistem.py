"""Particle sets from cisTEM's and FREALIGN's tables, and back.

Angles are RELION's: "RELION uses the same Euler angles as XMIPP, SPIDER and FREALIGN" (RELION's
manual, Conventions), phi being rot and theta tilt.  A shift, angstrom, moves the particle's image
to the centre of the reference and is minus RELION's origin, as pyem has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.io.cistem import LAYOUTS, read_par, write_par
from vitreous.io.mrc import read_header
from vitreous.io.star import StarBlock, write_star
from vitreous.particles.columns import numbers
from vitreous.particles.conversion import as_relion
from vitreous.particles.image_files import ImageFiles, find_files
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.files import new_relion
from vitreous.particles.restored import Known

PREFIX = "cisTEM"

_POSITION = ("PositionInStack", "C")
_STACK = "StackFilename"
_OPTICS = {
    "pixel_size": ("PixelSize", None),
    "voltage": ("MicroscopeVoltagekV", 300.0),
    "cs": ("MicroscopeCsMM", 2.7),
    "amplitude_contrast": ("AmplitudeContrast", 0.07),
}


@dataclass(frozen=True)
class _Column:
    """A column of cisTEM, its name in .par files, and the field that it holds, times a sign."""

    star: str
    par: str
    field: str
    sign: float = 1.0


_COLUMNS = (
    _Column("AnglePsi", "PSI", "psi"),
    _Column("AngleTheta", "THETA", "tilt"),
    _Column("AnglePhi", "PHI", "rot"),
    _Column("XShift", "SHX", "origin_x", -1),
    _Column("YShift", "SHY", "origin_y", -1),
    _Column("Defocus1", "DF1", "defocus_u"),
    _Column("Defocus2", "DF2", "defocus_v"),
    _Column("DefocusAngle", "ANGAST", "defocus_angle"),
    _Column("PhaseShift", "PSHIFT", "phase_shift"),
)
_RADIANS = "PhaseShift"
"""Of cisTEM's tables; .par files give degrees."""

_NEUTRAL = {"OCC": "100.0", "MAG": "10000", "SIGMA": "1.0", "Occupancy": "100.0", "Sigma": "1.0"}
"""What new tables say where nothing is known; 0 elsewhere."""


_TOLERANCE = 1e-4
"""Difference, in degrees or angstrom, that six decimals of a radian make."""


def known_of(particles: ParticleSet) -> Known:
    """What the table that particles were read from has columns for."""
    fields = tuple(
        getattr(ParticleSet, column.field)
        for column in _COLUMNS
        if {PREFIX + column.star, f"par{column.par}"} & set(particles.columns)
    )
    of_star = PREFIX + _POSITION[0] in particles.columns
    return Known(fields, tuple(_OPTICS) if of_star else (), _TOLERANCE)


def is_of_cistem(particles: ParticleSet) -> bool:
    """Whether particles were read from one of these tables."""
    return any(name in particles.columns for name in (PREFIX + _POSITION[0], "par" + _POSITION[1]))


def is_cistem(block: StarBlock) -> bool:
    """Whether a STAR table is cisTEM's."""
    return f"{PREFIX}{_POSITION[0]}" in block.frame.columns


def _values(frame: pl.DataFrame, name: str, path: Path) -> np.ndarray:
    found = numbers(StarBlock("", frame), name, path)
    return np.degrees(found) if name == PREFIX + _RADIANS else found


def _stacks(
    frame: pl.DataFrame, given: Path | None, path: Path
) -> tuple[tuple[Path, ...], Int[np.ndarray, " n"]]:
    """Stacks of a table, and each particle's index into them."""
    name = PREFIX + _STACK
    if given is not None:
        return (given,), np.zeros(len(frame), np.int32)
    if name not in frame.columns:
        raise InputError("names no image stack", where=path, hint="name it with --stack")
    names = frame[name].unique(maintain_order=True)
    bare = [one.strip("'\"") for one in names]
    found = zip(bare, find_files(bare, path), strict=True)
    stack_of = frame[name].replace_strict(names, range(len(names)), return_dtype=pl.Int32)
    return tuple(file or Path(one) for one, file in found), stack_of.to_numpy()


def _optics(frame: pl.DataFrame, path: Path, stack: Path, pixel_size: float | None) -> OpticsGroup:
    """The one optics group of a table."""
    values: dict[str, float | None] = {}
    for name, (column, default) in _OPTICS.items():
        given = pixel_size if name == "pixel_size" else None
        found = PREFIX + column
        if given is None and found in frame.columns:
            several = np.unique(_values(frame, found, path))
            if len(several) > 1:
                raise InputError(
                    f"column _{found} has several values, from {several[0]:g} to {several[-1]:g}",
                    where=path,
                    hint="convert the particles of each by themselves",
                )
            given = float(several[0])
        values[name] = default if given is None else given
    header = read_header(stack)
    size = values["pixel_size"] or header.pixel_size[0]
    voltage, cs, contrast = (float(values[n] or 0) for n in list(_OPTICS)[1:])
    return OpticsGroup(1, "opticsGroup1", size, header.shape[2], voltage, cs, contrast)


def _as_set(
    frame: pl.DataFrame, named: dict[str, _Column], position: str, stack: Path | None,
    pixel_size: float | None, path: Path,
) -> ParticleSet:  # fmt: skip
    stacks, stack_of = _stacks(frame, stack, path)
    optics = _optics(frame, path, stacks[0], pixel_size)
    places = _values(frame, position, path)
    count = len(frame)
    index = (places - 1).astype(np.int64)
    files = ImageFiles(stacks, stack_of, index, np.empty(0, np.int64))
    made = new_relion(path, (optics,), np.zeros(count, np.int32), files)
    fields: dict[str, Any] = {
        column.field: column.sign * _values(frame, name, path) for name, column in named.items()
    }
    posed = made.with_fields(**fields)
    columns = posed.written
    assert isinstance(columns, RelionColumns)
    verbatim = frame.rename({n: n if n.startswith(PREFIX) else f"par{n}" for n in frame.columns})
    together = columns.particles.frame.hstack(verbatim)
    return replace(
        posed, carried=replace(columns, particles=columns.particles.with_frame(together)),
        changed=(), values={},
    )  # fmt: skip


def read_cistem(
    frame: pl.DataFrame, path: Path, stack: Path | None, pixel_size: float | None
) -> ParticleSet:
    """Particles of cisTEM's table; its own columns travel with them under their names.

    Raises
    ------
    InputError
        For cells that hold no numbers, and tables without a stack or of several optics.
    """
    named = {PREFIX + c.star: c for c in _COLUMNS if PREFIX + c.star in frame.columns}
    return _as_set(frame, named, PREFIX + _POSITION[0], stack, pixel_size, path)


def read_frealign(path: Path, stack: Path | None, pixel_size: float | None) -> ParticleSet:
    """Particles of a .par file.

    Raises
    ------
    InputError
        As :func:`read_cistem`, and without a stack.
    """
    frame = read_par(path)
    named = {c.par: c for c in _COLUMNS if c.par in frame.columns}
    return _as_set(frame, named, _POSITION[1], stack, pixel_size, path)


def _require_one_stack(particles: ParticleSet) -> None:
    if len(np.unique(particles.stack_of)) > 1:
        raise InputError(
            f"has images in {len(particles.stacks)} stacks, but cisTEM takes one",
            where=particles.path,
            hint="join them first: relion_stack_create --i FILE --o NAME",
        )


def _cells(
    particles: ParticleSet, column: _Column, name: str, before: pl.DataFrame
) -> pl.Series | None:
    """Cells of a column: those of before wherever they still say the same."""
    values = particles.of_field(getattr(ParticleSet, column.field))
    if values is None:
        return before[name] if name in before.columns else None
    scaled = column.sign * np.asarray(values)
    new = pl.Series((np.radians(scaled) if name.endswith(_RADIANS) else scaled) + 0.0)
    text = new.round(6).cast(pl.String)
    if name not in before.columns:
        return text
    old = before[name].cast(pl.Float64, strict=False).to_numpy()
    back = np.degrees(old) if name.endswith(_RADIANS) else old
    return before[name].zip_with(pl.Series(np.abs(back - scaled) < 1e-5), text)


def _frame(
    particles: ParticleSet, names: dict[str, _Column], position: str, path: Path
) -> pl.DataFrame:
    """The columns that are there, in cisTEM's order."""
    if position != PREFIX + _POSITION[0] or PREFIX + _STACK not in particles.columns:
        _require_one_stack(particles)  # unless it is cisTEM's own table, which may name several
    columns = as_relion(particles, path).written
    assert isinstance(columns, RelionColumns)
    before = columns.particles.frame
    cells = {position: pl.Series(particles.index_in_stack + 1).cast(pl.String)}
    for name, column in names.items():
        found = _cells(particles, column, name, before)
        if found is not None:
            cells[name] = found
    return pl.DataFrame(cells)


def write_cistem(path: Path, particles: ParticleSet) -> None:
    """Write cisTEM's table."""
    position = PREFIX + _POSITION[0]
    frame = _frame(particles, {PREFIX + c.star: c for c in _COLUMNS}, position, path)
    optics = [particles.optics[place] for place in particles.group]
    for name, (column, _) in _OPTICS.items():
        values = pl.Series([getattr(group, name) for group in optics]).cast(pl.String)
        frame = frame.with_columns(values.alias(PREFIX + column))
    stack = str(particles.stacks[int(particles.stack_of[0])])
    carried = _carried(particles, path, PREFIX)
    for name in ("Occupancy", "Sigma"):
        frame = frame.with_columns(pl.lit(_NEUTRAL[name]).alias(PREFIX + name))
    frame = frame.with_columns(pl.lit(stack).alias(PREFIX + _STACK))
    known = set(frame.columns) & {PREFIX + c.star for c in _COLUMNS} | {position}
    kept = carried.select(name for name in carried.columns if name not in known)
    ordered = [*carried.columns] + [n for n in frame.columns if n not in carried.columns]
    write_star(path, [StarBlock("", frame.with_columns(kept).select(ordered))])


def _carried(particles: ParticleSet, path: Path, prefix: str) -> pl.DataFrame:
    """Columns of cisTEM that came with the particles."""
    columns = as_relion(particles, path).written
    assert isinstance(columns, RelionColumns)
    frame = columns.particles.frame
    return frame.select(name for name in frame.columns if name.startswith(prefix))


def write_frealign(path: Path, particles: ParticleSet) -> None:
    """Write a .par file, with a column for a phase plate."""
    carried = _carried(particles, path, "par")
    carried = carried.rename({name: name.removeprefix("par") for name in carried.columns})
    names = tuple(carried.columns) or LAYOUTS[max(LAYOUTS)]
    fields = {c.par: c for c in _COLUMNS if c.par in names}
    renamed = as_relion(particles, path)
    frame = _frame(renamed, {f"par{n}": c for n, c in fields.items()}, _POSITION[1], path)
    frame = frame.rename({n: n.removeprefix("par") for n in frame.columns})
    missing = [n for n in names if n not in frame.columns]
    for name in missing:
        cells = carried[name] if name in carried.columns else pl.lit(_NEUTRAL.get(name, "0"))
        frame = frame.with_columns(cells.alias(name))
    write_par(path, frame.select(names))
