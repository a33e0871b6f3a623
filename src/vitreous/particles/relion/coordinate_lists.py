"""Coordinates of picked particles as RELION holds them: a file for each micrograph, and a list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import numbers
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.names import COLUMNS, COORDINATE_FILES

_X, _Y = COLUMNS[ParticleSet.x][0].name, COLUMNS[ParticleSet.y][0].name
_MICROGRAPH = COORDINATE_FILES["micrograph"]


def coordinate_blocks(path: Path) -> list[StarBlock]:
    """Blocks of a STAR file that hold coordinates."""
    return [b for b in read_star(path).values() if {_X, _Y} <= set(b.frame.columns)]


def listed_files(path: Path) -> dict[str, str]:
    """Files of coordinates that a list names, by micrograph; empty if it is no list."""
    for block in read_star(path).values():
        if set(COORDINATE_FILES.values()) <= set(block.frame.columns):
            names, files = (block.frame[column].to_list() for column in COORDINATE_FILES.values())
            return dict(zip(names, files, strict=True))
    return {}


def read_coordinates(path: Path) -> dict[str | None, Float[np.ndarray, "n 2"]]:
    """Coordinates (x, y) in pixels by micrograph; None stands for the one that the file is of.

    Raises
    ------
    InputError
        If there are no columns of coordinates, or a cell is no number.
    """
    blocks = coordinate_blocks(path)
    if not blocks:
        raise InputError(
            f"no coordinates: no block with _{_X} and _{_Y}",
            where=path,
            hint="give the coordinates of picked particles",
        )
    block = blocks[0]
    places = np.stack([numbers(block, _X, path), numbers(block, _Y, path)], -1)
    if _MICROGRAPH not in block.frame.columns:
        return {None: places}
    names = block.frame[_MICROGRAPH].to_numpy()
    return {str(name): places[names == name] for name in dict.fromkeys(names)}


def write_coordinates(path: Path, places: Float[np.ndarray, "n 2"]) -> None:
    """Write one micrograph's coordinates."""
    frame = pl.DataFrame(
        {_X: [f"{x:.3f}" for x in places[:, 0]], _Y: [f"{y:.3f}" for y in places[:, 1]]}
    )
    write_star(path, [StarBlock("", frame)])


def write_list(path: Path, files: Mapping[str, str]) -> None:
    """Write the list of coordinate files."""
    columns = {
        COORDINATE_FILES["micrograph"]: list(files),
        COORDINATE_FILES["file"]: list(files.values()),
    }
    write_star(path, [StarBlock("coordinate_files", pl.DataFrame(columns))])
