"""Optics groups, from and to cryoSPARC's exposure groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.particles.cryosparc.names import (
    AMPLITUDE_CONTRAST,
    CS,
    GROUP,
    MAGNIFICATION,
    PIXEL,
    SHAPE,
    TILT,
    UNTRANSLATED,
    VOLTAGE,
)
from vitreous.particles.optics import OpticsGroup

Columns = Mapping[str, np.ndarray]

OPTICS: Mapping[str, tuple[str, ...]] = {
    "number": (GROUP,),
    "name": (GROUP,),
    "pixel_size": (PIXEL,),
    "box": (SHAPE,),
    "voltage": (VOLTAGE,),
    "cs": (CS,),
    "amplitude_contrast": AMPLITUDE_CONTRAST,
    "beam_tilt": (TILT,),
    "mag_matrix": (MAGNIFICATION,),
    "odd_zernike": ("vitreous/odd_zernike",),
    "even_zernike": ("vitreous/even_zernike",),
}
"""Columns of each attribute of an optics group; the first there is read."""

_NAME = re.compile(r"exposureGroup(\d+)")

_LEAST_CS = 0.01
"""Spherical aberration, mm, below which coma is not told as a tilt of the beam."""


def tilt_of(coma: np.ndarray, cs: float) -> tuple[float, float]:
    """Beam tilt (mrad) along x and y of coma (angstrom) under a spherical aberration (mm)."""
    if abs(cs) < _LEAST_CS:
        return 0.0, 0.0
    x, y = (1e3 * math.asin(max(-1.0, min(1.0, float(c) / (cs * 1e7)))) for c in coma)
    return round(x, 6), round(y, 6)


def coma_of(tilt: tuple[float, float], cs: float) -> np.ndarray:
    """Coma, angstrom, of a beam tilt (mrad) along x and y: the inverse of :func:`tilt_of`."""
    return np.array([cs * 1e7 * math.sin(t / 1e3) for t in tilt], np.float32)


def _required(columns: Columns, name: str, path: Path) -> np.ndarray:
    if name not in columns:
        raise InputError(
            f"no column {name}, which tells the images' {'pixel size' if name == PIXEL else 'box'}",
            where=path,
            hint="give the file of extracted particles, or the group's .csg",
        )
    return columns[name]


def _grouped_by(columns: Columns) -> list[str]:
    """Columns whose values set optics groups apart."""
    names = (GROUP, PIXEL, SHAPE, VOLTAGE, CS, *AMPLITUDE_CONTRAST, TILT, MAGNIFICATION)
    return [name for name in names if name in columns]


def _number(columns: Columns, names: tuple[str, ...], row: int, default: float) -> float:
    name = next((name for name in names if name in columns), None)
    return default if name is None else round(float(columns[name][row]), 6)


def _group(columns: Columns, row: int, number: int, path: Path) -> OpticsGroup:
    """Optics group of a row."""
    cs = _number(columns, (CS,), row, 2.7)
    coma = columns[TILT][row] if TILT in columns else np.zeros(2)
    turned = columns[MAGNIFICATION][row] if MAGNIFICATION in columns else np.zeros(4)
    m00, m01, m10, m11 = (round(float(v), 6) for v in np.array([1.0, 0, 0, 1.0]) + turned)
    shape = columns[SHAPE][row]
    group = OpticsGroup(
        number,
        f"exposureGroup{int(columns[GROUP][row])}" if GROUP in columns else "exposureGroup0",
        _number(columns, (PIXEL,), row, 0.0),
        int(shape[-1]),
        _number(columns, (VOLTAGE,), row, 300.0),
        cs,
        _number(columns, AMPLITUDE_CONTRAST, row, 0.1),
        tilt_of(coma, cs),
        (m00, m01, m10, m11),
    )
    usable = all(math.isfinite(v) for v in (group.pixel_size, group.voltage, cs, m00, m01, m10))
    if not usable or group.pixel_size <= 0 or group.voltage <= 0 or group.box <= 0:
        raise InputError(
            f"row {row + 1} has a pixel size of {group.pixel_size:g} A, a box of {group.box} px, "
            f"{group.voltage:g} kV and a Cs of {cs:g} mm, expected numbers above 0",
            where=path,
            hint="mend that row in cryoSPARC",
        )
    return group


def optics_groups(
    columns: Columns, path: Path
) -> tuple[tuple[OpticsGroup, ...], Int[np.ndarray, " n"]]:
    """Optics groups, one for each combination of values, and each particle's index into them."""
    _required(columns, PIXEL, path)
    shape = _required(columns, SHAPE, path)
    if shape.ndim != 2:
        raise InputError(
            f"column {SHAPE} has the shape {shape.shape}, expected a height and a width a row",
            where=path,
            hint="give the file as cryoSPARC wrote it",
        )
    flat = {
        f"{name}{part}": values
        for name in _grouped_by(columns)
        for part, values in enumerate(columns[name].reshape(len(shape), -1).T)
    }
    frame = pl.DataFrame({name: np.ascontiguousarray(values) for name, values in flat.items()})
    group = frame.select(pl.struct(pl.all()).rank("dense").alias("g"))["g"].to_numpy() - 1
    _, firsts = np.unique(group, return_index=True)
    optics = tuple(_group(columns, int(row), n, path) for n, row in enumerate(firsts, 1))
    return optics, group.astype(np.int32)


def optics_notes(columns: Columns) -> Iterator[str]:
    """What a user should know of aberrations that are there."""
    for name in UNTRANSLATED:
        if name in columns and np.any(columns[name]):
            yield (
                f"The column {name} is carried through but not applied: its sign and axes against "
                "RELION's are not proven."
            )
    if TILT in columns and np.any(columns[TILT]):
        if CS in columns and (np.abs(columns[CS]) < _LEAST_CS).any():
            yield f"Without spherical aberration the coma in {TILT} is no beam tilt: not applied."
        yield f"Beam tilt is taken from {TILT} as coma over Cs."


def group_id(group: OpticsGroup) -> int:
    """Number of an exposure group: that in its name, or else its own."""
    found = _NAME.fullmatch(group.name)
    return int(found[1]) if found else group.number


def optics_columns(group: OpticsGroup, names: Iterable[str]) -> dict[str, np.ndarray]:
    """A row's values, by their columns, of some attributes of an optics group."""
    row: dict[str, np.ndarray] = {}
    for name in names:
        column, value = OPTICS[name][0], getattr(group, name)
        if name in ("number", "name"):
            row[column] = np.array(group_id(group), np.uint32)
        elif name == "box":
            row[column] = np.array([value, value], np.uint32)
        elif name == "beam_tilt":
            row[column] = coma_of(value, group.cs)
        elif name == "mag_matrix":
            row[column] = (np.array(value) - [1, 0, 0, 1]).astype(np.float32)
        elif name.endswith("zernike"):
            row[column] = np.array(value, np.float64)
        else:
            row[column] = np.array(value, np.float32)
    return row
