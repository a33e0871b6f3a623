"""Optics groups, from and to either of RELION's layouts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Integer

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.io.regular import is_file
from vitreous.io.star import StarBlock
from vitreous.particles.columns import numbers_if_any, whole_numbers
from vitreous.particles.image_files import ImageFiles
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.relion.names import DETECTOR_PIXEL, MAGNIFICATION, OPTICS

(_NUMBER,), (_NAME,), (_BOX,) = OPTICS["number"], OPTICS["name"], OPTICS["box"]
_TILT, _MAG, _PIXEL = OPTICS["beam_tilt"], OPTICS["mag_matrix"], OPTICS["pixel_size"]
(_VOLTAGE,), (_CS,) = OPTICS["voltage"], OPTICS["cs"]
(_AMPLITUDE_CONTRAST,) = OPTICS["amplitude_contrast"]
_ZERNIKE = (*OPTICS["odd_zernike"], *OPTICS["even_zernike"])
_OPTICS_COLUMNS = (
    *(_VOLTAGE, _CS, _AMPLITUDE_CONTRAST, DETECTOR_PIXEL, MAGNIFICATION),
    *(*_TILT, *_PIXEL, _BOX, *_ZERNIKE),
)

_DEFAULTS = {
    **{_VOLTAGE: 300.0, _CS: 2.7, _AMPLITUDE_CONTRAST: 0.1},
    **dict.fromkeys(_TILT, 0.0),
    **dict(zip(_MAG, (1.0, 0.0, 0.0, 1.0), strict=True)),
}

_SAME = 1.01
"""Ratio of two pixel sizes that may be one, rounded."""


@dataclass(frozen=True)
class Grouped:
    """Particles in their optics groups.

    Attributes
    ----------
    optics : tuple of OpticsGroup
        Those that have particles.
    group : int32 array (particles,)
        Index into ``optics``.
    row : int array (particles,)
        Row of each particle's group in data_optics; 0 for all without that block.
    notes : tuple of str
        What was taken from elsewhere than the table.
    """

    optics: tuple[OpticsGroup, ...]
    group: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    notes: tuple[str, ...]


def _stated_pixel_size(row: Mapping[str, Any]) -> float | None:
    for name in _PIXEL:
        if name in row:
            return float(row[name])
    if DETECTOR_PIXEL in row and float(row.get(MAGNIFICATION, 0)) > 0:
        return float(row[DETECTOR_PIXEL]) * 1e4 / float(row[MAGNIFICATION])
    return None


def _header_pixel_size(
    row: Mapping[str, Any], number: int, stacks: Sequence[Path], path: Path
) -> float:
    """Pixel size that the headers of all of an optics group's stacks agree on."""
    sizes = [read_header(stack).pixel_size[0] for stack in stacks if is_file(stack)]
    agree = sizes and min(sizes) > 0 and max(sizes) <= _SAME * min(sizes)
    if agree and MAGNIFICATION not in row:
        return round(sizes[0], 6)
    columns = ", ".join("_" + name for name in _PIXEL)
    headers = f"from {min(sizes):g} to {max(sizes):g} A" if sizes else "not there"
    raise InputError(
        f"optics group {number} has no pixel size (none of the columns {columns}, nor a "
        f"magnification above 0), and those in the headers of its images are {headers}",
        where=path,
        hint=f"add _{_PIXEL[0]}",
    )


def _box(row: Mapping[str, str], stack: Path) -> int:
    """Of the images: a whole number, which may be written as a real."""
    if _BOX not in row:
        return read_header(stack).shape[2]
    size = float(row[_BOX])
    if not size.is_integer():
        raise ValueError(f"{_BOX} {row[_BOX]}, expected a whole number")
    return int(size)


def _coefficients(cell: str) -> tuple[float, ...]:
    """Numbers of a cell such as [0.1,-2]."""
    return tuple(float(number) for number in cell.strip("[] ").split(",") if number.strip())


def _require_usable(values: Mapping[str, float], number: int, path: Path) -> None:
    for name, value in values.items():
        positive = name in ("pixel size", "image size", _VOLTAGE)
        if not math.isfinite(value) or (positive and value <= 0):
            raise InputError(
                f"optics group {number} has {name} {value:g}, expected "
                f"{'more than 0' if positive else 'a finite number'}",
                where=path,
                hint="write the true one",
            )


def _optics_group(
    row: Mapping[str, str], number: int, stacks: Sequence[Path], path: Path
) -> tuple[OpticsGroup, list[str]]:
    """An optics group from its row, and notes on what the row lacks."""
    try:
        values = {name: float(row.get(name, default)) for name, default in _DEFAULTS.items()}
        stated, box = _stated_pixel_size(row), _box(row, stacks[0])
        zernike = {name: _coefficients(row.get(name, "")) for name in _ZERNIKE}
    except ValueError as error:
        raise InputError(
            f"optics group {number} holds a value that is no number: {error}",
            where=path,
            hint="mend that cell",
        ) from error
    pixel_size = _header_pixel_size(row, number, stacks, path) if stated is None else stated
    coefficients = {
        f"{name}, coefficient {i}": value
        for name, several in zernike.items()
        for i, value in enumerate(several, 1)
    }
    told = {**values, "pixel size": pixel_size, "image size": box, **coefficients}
    _require_usable(told, number, path)
    tilt, mag = ([values[name] for name in names] for names in (_TILT, _MAG))
    group = OpticsGroup(
        number,
        row.get(_NAME, f"opticsGroup{number}"),
        pixel_size,
        box,
        values[_VOLTAGE],
        values[_CS],
        values[_AMPLITUDE_CONTRAST],
        (tilt[0], tilt[1]),
        (mag[0], mag[1], mag[2], mag[3]),
        *zernike.values(),
    )
    words = (
        f"Optics group {number} has no pixel size in the table: {pixel_size:g} A/px was taken from "
        f"the header of {stacks[0].name}."
    )
    return group, [words] if stated is None else []


def _group_numbers(
    block: StarBlock, particles: StarBlock, path: Path
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " g"]]:
    """Number of each particle's optics group, and of those in data_optics."""
    if _NUMBER in particles.frame.columns:
        if _NUMBER not in block.frame.columns:
            raise InputError(
                f"data_optics has no column _{_NUMBER}", where=path, hint="number its groups"
            )
        known = whole_numbers(block, _NUMBER, path)
        return whole_numbers(particles, _NUMBER, path), known
    if len(block.frame) != 1:
        raise InputError(
            f"the particles have no column _{_NUMBER}, but there are several groups",
            where=path,
            hint="add the column",
        )
    return np.ones(len(particles.frame), dtype=np.int64), np.ones(1, dtype=np.int64)


def _check_numbers(member: Int[np.ndarray, " n"], known: Int[np.ndarray, " g"], path: Path) -> None:
    if len(set(known.tolist())) < len(known):
        raise InputError(
            f"data_optics holds a group twice (its groups are {', '.join(map(str, known))})",
            where=path,
            hint="remove or renumber one of them",
        )
    unknown = ~np.isin(member, known)
    if unknown.any():
        row = int(unknown.argmax())
        raise InputError(
            f"row {row + 1} belongs to optics group {member[row]}, which data_optics lacks",
            where=path,
            hint="add the group or mend the row",
        )


def _grouped(
    rows: Sequence[tuple[int, Mapping[str, str]]],
    group: Integer[np.ndarray, " n"],
    row: Int[np.ndarray, " n"],
    files: ImageFiles,
    path: Path,
) -> Grouped:
    """Groups from their numbers and rows."""
    optics, notes = [], []
    for place, (number, cells) in enumerate(rows):
        stacks = [files.stacks[s] for s in np.unique(files.stack_of[group == place])]
        made, said = _optics_group(cells, number, stacks, path)
        optics.append(made)
        notes += said
    return Grouped(tuple(optics), group.astype(np.int32), row, tuple(notes))


def optics_from_block(
    block: StarBlock, particles: StarBlock, files: ImageFiles, path: Path
) -> Grouped:
    """Optics groups of RELION 3.1's layout, by their numbers.

    Raises
    ------
    InputError
        For groups that are there twice or not at all, and values that cannot be used.
    """
    member, known = _group_numbers(block, particles, path)
    _check_numbers(member, known, path)
    used, group = np.unique(member, return_inverse=True)
    place = {int(number): i for i, number in enumerate(known)}
    row_of = np.array([place[int(number)] for number in used])
    rows = [(int(n), block.frame.row(place[int(n)], named=True)) for n in used]
    return _grouped(rows, group, row_of[group], files, path)


def optics_from_rows(block: StarBlock, files: ImageFiles, path: Path) -> Grouped:
    """Optics groups of RELION 3.0's layout: one for each combination of values."""
    names = [name for name in _OPTICS_COLUMNS if name in block.frame.columns]
    nothing = np.zeros(len(block.frame), dtype=np.int64)
    if not names:
        return _grouped([(1, {})], nothing, nothing, files, path)
    group = block.frame.select(pl.struct(names).rank("dense").alias("g"))["g"].to_numpy() - 1
    firsts = [int((group == g).argmax()) for g in range(int(group.max()) + 1)]
    rows = [(n, block.frame.row(row, named=True)) for n, row in enumerate(firsts, 1)]
    return _grouped(rows, group, nothing, files, path)


def stated_pixel_sizes(block: StarBlock) -> Iterator[tuple[str, Float[np.ndarray, " m"]]]:
    """Columns of a block that state pixel sizes of images, and these in angstrom."""
    for name in _PIXEL[:2]:
        size = numbers_if_any(block, name)
        if size is not None:
            yield f"_{name}", size
    detector = numbers_if_any(block, DETECTOR_PIXEL)
    magnification = numbers_if_any(block, MAGNIFICATION)
    if detector is not None and magnification is not None:
        size = detector * 1e4 / np.where(magnification > 0, magnification, np.inf)
        yield f"_{DETECTOR_PIXEL} and _{MAGNIFICATION}", size


def optics_cells(group: OpticsGroup, names: Iterable[str]) -> dict[str, str]:
    """Cells, by their columns, of some attributes of an optics group."""
    cells: dict[str, str] = {}
    for name in names:
        value, columns = getattr(group, name), OPTICS[name]
        if name.endswith("zernike"):
            cells[columns[0]] = f"[{','.join(f'{c:.6g}' for c in value)}]"
        elif isinstance(value, tuple):
            cells |= {column: f"{v:.6f}" for column, v in zip(columns, value, strict=True)}
        else:
            cells[columns[0]] = f"{value:.6f}" if isinstance(value, float) else str(value)
    return cells


NEUTRAL = {_MAG[0]: "1.0", _MAG[3]: "1.0", _ZERNIKE[0]: "[0,0,0,0,0,0]"}
"""What groups without particles get in new columns; 0 in the others."""


def block_with_optics(
    block: StarBlock, groups: Mapping[int, OpticsGroup], names: Iterable[str]
) -> StarBlock:
    """Optics block with some attributes of groups, given by their rows.

    The box is written only where it stands already: images tell it, too.
    """
    frame = block.frame
    written = [name for name in names if name != "box" or _BOX in frame.columns]
    cells = {row: optics_cells(group, written) for row, group in groups.items()}
    for name in next(iter(cells.values()), {}):
        default = pl.Series([NEUTRAL.get(name, "0.0")] * len(frame))
        old = frame[name] if name in frame.columns else default
        new = [cells[row][name] if row in cells else cell for row, cell in enumerate(old)]
        frame = frame.with_columns(pl.Series(name, new))
    return block.with_frame(frame)
