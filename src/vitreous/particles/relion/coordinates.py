"""Coordinates of particles on micrographs, as RELION and our picker leave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star
from vitreous.particles.columns import numbers
from vitreous.particles.image_files import find_file
from vitreous.particles.relion.micrograph_table import MicrographTable
from vitreous.particles.relion.names import HELICAL, LIST, NAME, X, Y


@dataclass(frozen=True)
class Coordinates:
    """Particles on micrographs.

    Attributes
    ----------
    frame : polars DataFrame
        All columns of the particles as text, without the micrograph's name.
    micrograph : polars Series
        Row of each particle's micrograph in the table of micrographs.
    problems : tuple of str
        Coordinate files that could not be read, a line each.
    """

    frame: pl.DataFrame
    micrograph: pl.Series
    problems: tuple[str, ...] = ()


def _block(path: Path) -> StarBlock | None:
    """The block with coordinates; None if the file has none, as without a pick."""
    blocks = read_star(path).values()
    return next((block for block in blocks if {X, Y} <= set(block.frame.columns)), None)


def _checked(block: StarBlock, path: Path) -> StarBlock:
    """The block, once it is seen that its coordinates are numbers and no helical segments."""
    helical = next((name for name in block.frame.columns if name.startswith(HELICAL)), None)
    if helical is not None:
        raise InputError(
            f"holds helical segments (column _{helical}), which are not extracted here",
            where=path,
            hint="extract filaments with RELION",
        )
    for name in (X, Y):
        numbers(block, name, path)
    return block


def _in_one_table(block: StarBlock, path: Path, table: MicrographTable) -> Coordinates:
    """Particles of a table that names their micrographs."""
    frame = _checked(block, path).frame
    row_of = rows_by_name(table)
    rows = pl.Series([row_named(row_of, name) for name in frame[NAME]], dtype=pl.Int64)
    if rows.is_null().all():
        raise InputError(
            f"none of its micrographs, such as {frame[NAME][0]}, is in {table.path}",
            where=path,
            hint="give the coordinates of these micrographs",
        )
    known = rows.is_not_null()
    order = rows.filter(known).arg_sort()
    return Coordinates(frame.filter(known).drop(NAME)[order], rows.filter(known)[order])


def rows_by_name(table: MicrographTable) -> dict[str, int]:
    """Rows of micrographs by their names, and by those of their files where no two are the same."""
    names = [Path(name).name for name in table.names]
    count = Counter(names)
    short = {name: row for row, name in enumerate(names) if count[name] == 1}
    return short | {name: row for row, name in enumerate(table.names)}


def row_named(rows: Mapping[str, int], name: str) -> int | None:
    """Row of a micrograph by its name, or by that of its file."""
    return rows.get(name, rows.get(Path(name).name))


def _listed(block: StarBlock, path: Path, table: MicrographTable) -> Iterator[tuple[int, Path]]:
    """Rows of micrographs, and the coordinate files that a list has for them."""
    row_of = rows_by_name(table)
    for name, file in block.frame.select(NAME, LIST).iter_rows():
        row = row_named(row_of, name)
        if row is not None:
            yield row, find_file(file, path) or Path(file)


def _owner(stem: str, rows: Mapping[str, int]) -> int | None:
    """Row of the micrograph that a file is named after, be there more words after it."""
    while stem and stem not in rows:
        stem = stem.rpartition("_")[0]
    return rows.get(stem)


def _in_folder(folder: Path, table: MicrographTable) -> Iterator[tuple[int, Path]]:
    """Rows of micrographs, and the files of a folder that begin with their names."""
    rows = {Path(name).stem: row for row, name in enumerate(table.names)}
    found: dict[int, Path] = {}
    for file in sorted(folder.rglob("*.star")):
        row = _owner(file.stem, rows)
        if row is None:
            continue
        if row in found:
            raise InputError(
                f"holds two STAR files for {table.names[row]}: {found[row].name} and {file.name}",
                where=folder,
                hint="leave the one with its coordinates",
            )
        found[row] = file
    return iter(found.items())


def _in_files(files: Iterator[tuple[int, Path]], path: Path) -> Coordinates:
    """Particles of a file for each micrograph; files that cannot be read are told."""
    frames, rows, problems = list[pl.DataFrame](), list[pl.Series](), list[str]()
    for row, file in sorted(files):
        try:
            block = _block(file)
            frame = pl.DataFrame() if block is None else _checked(block, file).frame
        except InputError as error:
            problems.append(error.line())
            continue
        if len(frame):
            frames.append(frame.drop(NAME, strict=False))
            rows.append(pl.Series([row] * len(frame), dtype=pl.Int64))
    if not frames:
        first = f", the first by: {problems[0]}" if problems else ""
        raise InputError(
            f"no coordinates of any of the micrographs ({len(problems)} files cannot be "
            f"read{first})",
            where=path,
            hint="give the coordinates of these micrographs",
        )
    everywhere = [n for n in frames[0].columns if all(n in f.columns for f in frames)]
    joined = pl.concat([frame.select(everywhere) for frame in frames])
    return Coordinates(joined, pl.concat(rows), tuple(problems))


def read_coordinates(path: Path, table: MicrographTable) -> Coordinates:
    """Coordinates of particles on the micrographs of a table, in the order of these.

    Parameters
    ----------
    path : Path
        A STAR file with micrographs and coordinates, a list of coordinate files, or a folder with a
        STAR file for each micrograph, named after it.
    table : MicrographTable

    Raises
    ------
    InputError
        If there are none on these micrographs, or they are those of helical segments.
    """
    if path.is_dir():
        return _in_files(_in_folder(path, table), path)
    blocks = list(read_star(path).values())
    for block in blocks:
        columns = set(block.frame.columns)
        if {NAME, X, Y} <= columns and len(block.frame):
            return _in_one_table(block, path, table)
        if {NAME, LIST} <= columns:
            return _in_files(_listed(block, path, table), path)
    if len(table) == 1 and any({X, Y} <= set(block.frame.columns) for block in blocks):
        return _in_files(iter([(0, path)]), path)
    raise InputError(
        f"no coordinates: no block with _{NAME}, _{X} and _{Y}, nor with _{NAME} and _{LIST}",
        where=path,
        hint="give the picks of vitreous pick, or RELION's autopick.star",
    )
