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
from vitreous.particles.relion.names import LIST, NAME, X, Y


def coordinate_blocks(path: Path) -> list[StarBlock]:
    """Blocks of a STAR file that hold coordinates."""
    return [b for b in read_star(path).values() if {X, Y} <= set(b.frame.columns)]


def listed_files(path: Path) -> dict[str, str]:
    """Files of coordinates that a list names, by micrograph; empty if it is no list."""
    for block in read_star(path).values():
        if {NAME, LIST} <= set(block.frame.columns):
            names, files = (block.frame[column].to_list() for column in (NAME, LIST))
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
            f"no coordinates: no block with _{X} and _{Y}",
            where=path,
            hint="give the coordinates of picked particles",
        )
    block = blocks[0]
    places = np.stack([numbers(block, X, path), numbers(block, Y, path)], -1)
    if NAME not in block.frame.columns:
        return {None: places}
    names = block.frame[NAME].to_numpy()
    return {str(name): places[names == name] for name in dict.fromkeys(names)}


def write_coordinates(path: Path, places: Float[np.ndarray, "n 2"]) -> None:
    """Write one micrograph's coordinates."""
    frame = pl.DataFrame(
        {X: [f"{x:.3f}" for x in places[:, 0]], Y: [f"{y:.3f}" for y in places[:, 1]]}
    )
    write_star(path, [StarBlock("", frame)])


def write_list(path: Path, files: Mapping[str, str]) -> None:
    """Write the list of coordinate files."""
    columns = {NAME: list(files), LIST: list(files.values())}
    write_star(path, [StarBlock("coordinate_files", pl.DataFrame(columns))])
