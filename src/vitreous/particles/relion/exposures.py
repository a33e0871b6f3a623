"""Tables of movies and micrographs, from and to RELION's STAR files (3.1 and later)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import numbers, whole_numbers
from vitreous.particles.exposures import ExposureOptics, Exposures
from vitreous.particles.relion.names import (
    CORRECTED_MICROGRAPHS,
    EXPOSURE_NAMES,
    EXPOSURE_OPTICS,
    OPTICS,
)

(_NUMBER,) = OPTICS["number"]
_TEXT = ("name", "mtf", "gain")
"""Attributes of optics that are no numbers."""


def exposure_kind(blocks: Mapping[str, StarBlock]) -> str | None:
    """Whether a file is of movies or of micrographs; None if of neither."""
    for kind, column in EXPOSURE_NAMES.items():
        if kind in blocks and column in blocks[kind].frame.columns:
            return kind
    return None


def _table_block(blocks: Mapping[str, StarBlock], path: Path) -> tuple[str, StarBlock]:
    """The block of movies or micrographs, and which it is."""
    kind = exposure_kind(blocks)
    if kind is not None:
        return kind, blocks[kind]
    found = ", ".join(f"data_{name}" for name in blocks)
    raise InputError(
        f"no movies or micrographs: no block data_movies with _{EXPOSURE_NAMES['movies']} nor "
        f"data_micrographs with _{EXPOSURE_NAMES['micrographs']} (found {found})",
        where=path,
        hint="make the table with vitreous import, or with RELION 3.1 or later",
    )


def _one_optics(block: StarBlock, row: int, path: Path) -> ExposureOptics:
    """Optics of one row of data_optics."""
    frame, found = block.frame, dict[str, Any]()
    for name, columns in EXPOSURE_OPTICS.items():
        if any(column not in frame.columns for column in columns):
            continue
        if name in _TEXT:
            found[name] = frame[columns[0]][row]
            continue
        values = [float(numbers(block, column, path)[row]) for column in columns]
        found[name] = values[0] if len(values) == 1 else tuple(values)
    found.setdefault("name", f"opticsGroup{row + 1}")
    if "pixel_size" not in found and "micrograph_pixel_size" in found:
        found["pixel_size"] = found["micrograph_pixel_size"]
    if not found.get("pixel_size", 0) > 0:
        raise InputError(
            f"optics group {row + 1} has no pixel size (_{EXPOSURE_OPTICS['pixel_size'][0]})",
            where=path,
            hint="import the files again with --pixel-size",
        )
    return ExposureOptics(**found)


def read_exposures(path: Path) -> Exposures:
    """Read a table of movies or micrographs.

    Raises
    ------
    InputError
        If it is neither, holds none, or lacks optics that it refers to.
    """
    blocks = read_star(path)
    kind, block = _table_block(blocks, path)
    optics = blocks.get("optics")
    if optics is None or _NUMBER not in optics.frame.columns or len(block.frame) == 0:
        what = "holds no rows" if optics is not None else "has no block data_optics"
        raise InputError(f"{what}, expected some", where=path, hint="import the files again")
    groups = whole_numbers(optics, _NUMBER, path)
    places = {int(number): row for row, number in enumerate(groups)}
    if _NUMBER in block.frame.columns:
        numbered = whole_numbers(block, _NUMBER, path)
    else:
        numbered = np.full(len(block.frame), groups[0])
    unknown = [int(number) for number in numbered if int(number) not in places]
    if unknown:
        raise InputError(
            f"a row of data_{kind} is of optics group {unknown[0]}, which data_optics lacks",
            where=path,
            hint="mend the column or add the group",
        )
    return Exposures(
        kind,
        tuple(block.frame[EXPOSURE_NAMES[kind]].to_list()),
        tuple(_one_optics(optics, row, path) for row in range(len(groups))),
        np.array([places[int(number)] for number in numbered]),
        path,
    )


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6f}"


def optics_block(optics: Sequence[ExposureOptics]) -> StarBlock:
    """data_optics of some groups, numbered from 1; what no group has is no column."""
    columns: dict[str, list[str]] = {}
    defaults = {field.name: field.default for field in fields(ExposureOptics)}
    for name, names in EXPOSURE_OPTICS.items():
        values = [getattr(group, name) for group in optics]
        if all(value is None for value in values):
            continue
        if name == "beam_tilt" and all(value == defaults[name] for value in values):
            continue
        parts = [value if isinstance(value, tuple) else (value,) for value in values]
        for index, column in enumerate(names):
            columns[column] = [
                "None" if part[index] is None else _cell(part[index]) for part in parts
            ]
        if name == "name":
            columns[_NUMBER] = [str(number + 1) for number in range(len(optics))]
    return StarBlock("optics", pl.DataFrame(columns))


def _group_cells(exposures: Exposures) -> list[str]:
    return [str(number + 1) for number in exposures.group]


def write_exposures(path: Path, exposures: Exposures) -> None:
    """Write ``movies.star`` or ``micrographs.star``."""
    columns = {
        EXPOSURE_NAMES[exposures.kind]: list(exposures.names),
        _NUMBER: _group_cells(exposures),
    }
    block = StarBlock(exposures.kind, pl.DataFrame(columns))
    write_star(path, [optics_block(exposures.optics), block])


def write_corrected(
    path: Path, exposures: Exposures, rows: Sequence[Mapping[str, str | float]]
) -> None:
    """Write ``corrected_micrographs.star``.

    Parameters
    ----------
    path : Path
    exposures : Exposures
        Micrographs; their optics have the micrographs' pixel size.
    rows : sequence of mapping
        Of each micrograph: names of its files and accumulated motion, by the keys of
        ``CORRECTED_MICROGRAPHS``; keys that none has are no columns.
    """
    keys = [key for key in CORRECTED_MICROGRAPHS if any(key in row for row in rows)]
    columns = {CORRECTED_MICROGRAPHS[key]: [_cell(row[key]) for row in rows] for key in keys}
    columns[_NUMBER] = _group_cells(exposures)
    block = StarBlock("micrographs", pl.DataFrame(columns))
    write_star(path, [optics_block(exposures.optics), block])
