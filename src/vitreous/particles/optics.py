"""Optics groups, from either of RELION's layouts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int, Integer

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.io.regular import is_file
from vitreous.io.star import StarBlock
from vitreous.particles.columns import whole_numbers
from vitreous.particles.image_files import ImageFiles

_PIXEL_COLUMNS = ("rlnImagePixelSize", "rlnPixelSize", "rlnMicrographPixelSize")
MAG_COLUMNS = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
_ZERNIKE_COLUMNS = ("rlnOddZernike", "rlnEvenZernike")
_OPTICS_COLUMNS = (
    *("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnDetectorPixelSize"),
    *("rlnMagnification", "rlnBeamTiltX", "rlnBeamTiltY", *_PIXEL_COLUMNS, "rlnImageSize"),
    *_ZERNIKE_COLUMNS,
)


_SAME = 1.01
"""Ratio of two pixel sizes that may be one, rounded."""


@dataclass(frozen=True)
class OpticsGroup:
    """What the particles of one optics group share.

    Attributes
    ----------
    number : int
        rlnOpticsGroup.
    name : str
    pixel_size : float
        Angstrom.
    box : int
        Pixels.
    voltage : float
        kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
    beam_tilt : tuple of float
        Along x and y, mrad.
    mag_matrix : tuple of float
        rlnMagMat00, 01, 10, 11.
    odd_zernike, even_zernike : tuple of float
        Coefficients in RELION's order, in radians and powers of angstrom.
    """

    number: int
    name: str
    pixel_size: float
    box: int
    voltage: float
    cs: float
    amplitude_contrast: float
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    mag_matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()


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
    for name in _PIXEL_COLUMNS:
        if name in row:
            return float(row[name])
    if "rlnDetectorPixelSize" in row and float(row.get("rlnMagnification", 0)) > 0:
        return float(row["rlnDetectorPixelSize"]) * 1e4 / float(row["rlnMagnification"])
    return None


def _header_pixel_size(
    row: Mapping[str, Any], number: int, stacks: Sequence[Path], path: Path
) -> float:
    """Pixel size that the headers of all of an optics group's stacks agree on."""
    sizes = [read_header(stack).pixel_size[0] for stack in stacks if is_file(stack)]
    agree = sizes and min(sizes) > 0 and max(sizes) <= _SAME * min(sizes)
    if agree and "rlnMagnification" not in row:
        return round(sizes[0], 6)
    columns = ", ".join("_" + name for name in _PIXEL_COLUMNS)
    headers = f"from {min(sizes):g} to {max(sizes):g} A" if sizes else "not there"
    raise InputError(
        f"optics group {number} has no pixel size (none of the columns {columns}, nor a "
        f"magnification above 0), and those in the headers of its images are {headers}",
        where=path,
        hint="add _rlnImagePixelSize",
    )


def _box(row: Mapping[str, str], stack: Path) -> int:
    """Of the images: a whole number, which may be written as a real."""
    if "rlnImageSize" not in row:
        return read_header(stack).shape[2]
    size = float(row["rlnImageSize"])
    if not size.is_integer():
        raise ValueError(f"rlnImageSize {row['rlnImageSize']}, expected a whole number")
    return int(size)


def _coefficients(cell: str) -> tuple[float, ...]:
    """Numbers of a cell such as [0.1,-2]."""
    return tuple(float(number) for number in cell.strip("[] ").split(",") if number.strip())


def _optics_group(
    row: Mapping[str, str], number: int, stacks: Sequence[Path], path: Path
) -> tuple[OpticsGroup, list[str]]:
    """An optics group from its row, and notes on what the row lacks."""
    try:
        values = {
            name: float(row.get(name, default))
            for name, default in {
                "rlnVoltage": 300.0,
                "rlnSphericalAberration": 2.7,
                "rlnAmplitudeContrast": 0.1,
                "rlnBeamTiltX": 0.0,
                "rlnBeamTiltY": 0.0,
                **dict(zip(MAG_COLUMNS, (1.0, 0.0, 0.0, 1.0), strict=True)),
            }.items()
        }
        stated, box = _stated_pixel_size(row), _box(row, stacks[0])
        zernike = {name: _coefficients(row.get(name, "")) for name in _ZERNIKE_COLUMNS}
    except ValueError as error:
        raise InputError(
            f"optics group {number} holds a value that is no number: {error}",
            where=path,
            hint="mend that cell",
        ) from error
    pixel_size = _header_pixel_size(row, number, stacks, path) if stated is None else stated
    values |= {"pixel size": pixel_size, "image size": box}
    values |= {
        f"{name}, coefficient {i}": value
        for name, coefficients in zernike.items()
        for i, value in enumerate(coefficients, 1)
    }
    for name, value in values.items():
        positive = name in ("pixel size", "image size", "rlnVoltage")
        if not math.isfinite(value) or (positive and value <= 0):
            raise InputError(
                f"optics group {number} has {name} {value:g}, expected "
                f"{'more than 0' if positive else 'a finite number'}",
                where=path,
                hint="write the true one",
            )
    mag = [values[name] for name in MAG_COLUMNS]
    words = (
        f"Optics group {number} has no pixel size in the table: {pixel_size:g} A/px was taken from "
        f"the header of {stacks[0].name}."
    )
    group = OpticsGroup(
        number,
        row.get("rlnOpticsGroupName", f"opticsGroup{number}"),
        pixel_size,
        box,
        values["rlnVoltage"],
        values["rlnSphericalAberration"],
        values["rlnAmplitudeContrast"],
        (values["rlnBeamTiltX"], values["rlnBeamTiltY"]),
        (mag[0], mag[1], mag[2], mag[3]),
        *zernike.values(),
    )
    return group, [words] if stated is None else []


def _group_numbers(
    block: StarBlock, particles: StarBlock, path: Path
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " g"]]:
    """Number of each particle's optics group, and of those in data_optics."""
    if "rlnOpticsGroup" in particles.frame.columns:
        if "rlnOpticsGroup" not in block.frame.columns:
            raise InputError(
                "data_optics has no column _rlnOpticsGroup", where=path, hint="number its groups"
            )
        known = whole_numbers(block, "rlnOpticsGroup", path)
        return whole_numbers(particles, "rlnOpticsGroup", path), known
    if len(block.frame) != 1:
        raise InputError(
            "the particles have no column _rlnOpticsGroup, but there are several groups",
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
