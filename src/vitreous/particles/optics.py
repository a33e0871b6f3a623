"""Optics groups, from either of RELION's layouts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.io.star import StarBlock
from vitreous.particles.columns import numbers

_PIXEL_COLUMNS = ("rlnImagePixelSize", "rlnPixelSize", "rlnMicrographPixelSize")
MAG_COLUMNS = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
_ZERNIKE_COLUMNS = ("rlnOddZernike", "rlnEvenZernike")
_OPTICS_COLUMNS = (
    *("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnDetectorPixelSize"),
    *("rlnMagnification", "rlnBeamTiltX", "rlnBeamTiltY", *_PIXEL_COLUMNS, "rlnImageSize"),
    *_ZERNIKE_COLUMNS,
)


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


def _first_box(stack: Path) -> int:
    return read_header(stack).shape[2]


def _pixel_size(row: Mapping[str, Any], path: Path, number: int) -> float:
    for name in _PIXEL_COLUMNS:
        if name in row:
            return float(row[name])
    if "rlnDetectorPixelSize" in row and float(row.get("rlnMagnification", 0)) > 0:
        return float(row["rlnDetectorPixelSize"]) * 1e4 / float(row["rlnMagnification"])
    raise InputError(
        f"optics group {number} has no pixel size (none of the columns "
        f"{', '.join('_' + n for n in _PIXEL_COLUMNS)}, nor a magnification above 0)",
        where=path,
        mend="add _rlnImagePixelSize",
    )


def _coefficients(cell: str) -> tuple[float, ...]:
    """Numbers of a cell such as [0.1,-2]."""
    return tuple(float(number) for number in cell.strip("[] ").split(",") if number.strip())


def _optics_group(row: Mapping[str, str], number: int, stack: Path, path: Path) -> OpticsGroup:
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
        pixel_size = _pixel_size(row, path, number)
        box = int(row["rlnImageSize"]) if "rlnImageSize" in row else _first_box(stack)
        zernike = {name: _coefficients(row.get(name, "")) for name in _ZERNIKE_COLUMNS}
    except ValueError as error:
        raise InputError(
            f"optics group {number} holds a value that is no number: {error}",
            where=path,
            mend="mend that cell",
        ) from error
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
                mend="write the true one",
            )
    mag = [values[name] for name in MAG_COLUMNS]
    return OpticsGroup(
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


def optics_from_block(
    block: StarBlock,
    particles: StarBlock,
    stack_of: np.ndarray,
    stacks: tuple[Path, ...],
    path: Path,
) -> tuple[tuple[OpticsGroup, ...], np.ndarray]:
    """Optics groups of RELION 3.1's layout, and each particle's index among them."""
    if "rlnOpticsGroup" not in particles.frame.columns:
        if len(block.frame) != 1:
            raise InputError(
                "the particles have no column _rlnOpticsGroup, but there are several groups",
                where=path,
                mend="add the column",
            )
        member = np.ones(len(particles.frame), dtype=np.int64)
        numbers_of = np.ones(1, dtype=np.int64)
    else:
        if "rlnOpticsGroup" not in block.frame.columns:
            raise InputError(
                "data_optics has no column _rlnOpticsGroup", where=path, mend="number its groups"
            )
        member = numbers(particles, "rlnOpticsGroup", path).astype(np.int64)
        numbers_of = numbers(block, "rlnOpticsGroup", path).astype(np.int64)
    if len(set(numbers_of.tolist())) < len(numbers_of):
        raise InputError(
            f"data_optics holds a group twice (its groups are {', '.join(map(str, numbers_of))})",
            where=path,
            mend="remove or renumber one of them",
        )
    unknown = ~np.isin(member, numbers_of)
    if unknown.any():
        row = int(unknown.argmax())
        raise InputError(
            f"row {row + 1} belongs to optics group {member[row]}, which data_optics lacks",
            where=path,
            mend="add the group or mend the row",
        )
    used = [(i, n) for i, n in enumerate(numbers_of) if (member == n).any()]
    group = np.searchsorted([n for _, n in sorted(used, key=lambda u: u[1])], member)
    optics = tuple(
        _optics_group(
            block.frame.row(i, named=True),
            int(n),
            stacks[stack_of[int((member == n).argmax())]],
            path,
        )
        for i, n in sorted(used, key=lambda u: u[1])
    )
    return optics, group.astype(np.int32)


def optics_from_rows(
    block: StarBlock, stack_of: np.ndarray, stacks: tuple[Path, ...], path: Path
) -> tuple[tuple[OpticsGroup, ...], np.ndarray]:
    """Optics groups of RELION 3.0's layout: one for each combination of values."""
    names = [name for name in _OPTICS_COLUMNS if name in block.frame.columns]
    if not names:
        return (_optics_group({}, 1, stacks[0], path),), np.zeros(len(block.frame), dtype=np.int32)
    group = block.frame.select(pl.struct(names).rank("dense").alias("g"))["g"].to_numpy() - 1
    firsts = [int((group == g).argmax()) for g in range(int(group.max()) + 1)]
    optics = tuple(
        _optics_group(block.frame.row(row, named=True), number, stacks[stack_of[row]], path)
        for number, row in enumerate(firsts, 1)
    )
    return optics, group.astype(np.int32)
