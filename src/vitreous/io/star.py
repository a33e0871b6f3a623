"""STAR files as RELION writes them: every cell a string, so nothing is lost on the way through."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path

_TOKEN = re.compile(r"""'(?:[^']|'(?=\S))*'(?=\s|$)|"(?:[^"]|"(?=\S))*"(?=\s|$)|\S+""")


@dataclass(frozen=True)
class StarBlock:
    """One data block.

    Attributes
    ----------
    name : str
        What follows ``data_``; may be empty.
    frame : polars DataFrame
        All columns strings; names without the leading underscore.
    is_loop : bool
        A table; otherwise one row of names and values.
    line : int
        Line of the file that its first row stands on (1-based; 0 when not read from a file).
    """

    name: str
    frame: pl.DataFrame
    is_loop: bool = True
    line: int = 0

    def with_frame(self, frame: pl.DataFrame) -> StarBlock:
        """The same block with other rows or columns."""
        return replace(self, frame=frame)


def _tokens(line: str) -> list[str]:
    """Cells of a line; quotes stripped, a comment (# at the start of a token) dropped."""
    cells = []
    for match in _TOKEN.finditer(line):
        cell = match.group()
        if cell.startswith("#"):
            break
        quoted = len(cell) > 1 and cell[0] in "'\"" and cell[-1] == cell[0]
        cells.append(cell[1:-1] if quoted else cell)
    return cells


def _wrong_width(path: Path, line: int, found: int, names: list[str]) -> InputError:
    return InputError(
        f"line {line} has {found} values, but the table has {len(names)} columns",
        where=path,
        mend="mend or remove that line",
    )


def _careful_rows(
    lines: list[str], first: int, names: list[str], path: Path
) -> dict[str, list[str]]:
    """Rows of a table that has quotes or comments in it."""
    rows = []
    for number, line in enumerate(lines, first):
        cells = _tokens(line)
        if cells and len(cells) != len(names):
            raise _wrong_width(path, number, len(cells), names)
        if cells:
            rows.append(cells)
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def _fast_frame(body: str, first: int, names: list[str], path: Path) -> pl.DataFrame:
    """Table without quotes or comments, by polars' reader on single separators."""
    text = body.replace("\t", " ").replace("\r", "")
    while "  " in text:
        text = text.replace("  ", " ")
    text = text.replace("\n ", "\n").replace(" \n", "\n").strip()
    while "\n\n" in text:
        text = text.replace("\n\n", "\n")
    if not text:
        return pl.DataFrame({name: [] for name in names}, schema=dict.fromkeys(names, pl.String))
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode()),
            separator=" ",
            has_header=False,
            new_columns=names,
            schema=dict.fromkeys(names, pl.String),
            quote_char=None,
            truncate_ragged_lines=False,
        )
    except pl.exceptions.PolarsError:
        frame = None
    # A short row is filled with nulls: either way the careful reader finds the line.
    if frame is None or any(frame.null_count().row(0)):
        return _typed(_careful_rows(body.split("\n"), first, names, path), names)
    return frame


def _typed(columns: Mapping[str, list[str]], names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(dict(columns), schema=dict.fromkeys(names, pl.String))


def _parse_loop(lines: list[str], start: int, stop: int, name: str, path: Path) -> StarBlock:
    """Column names, then rows, from ``lines[start:stop]`` (after the word loop_)."""
    names: list[str] = []
    row = start
    while row < stop:
        cells = _tokens(lines[row])
        if cells and not cells[0].startswith("_"):
            break
        names += [cells[0][1:]] if cells else []
        row += 1
    twice = {n for n in names if names.count(n) > 1}
    if twice or not names:
        raise InputError(
            f"the table data_{name} has {f'column _{min(twice)} twice' if twice else 'no columns'}",
            where=path,
            mend="write the file again",
        )
    body = lines[row:stop]
    text = "\n".join(body)
    if any(mark in text for mark in "'\"#"):
        frame = _typed(_careful_rows(body, row + 1, names, path), names)
    else:
        frame = _fast_frame(text, row + 1, names, path)
    return StarBlock(name, frame, True, row + 1)


def _parse_pairs(lines: list[str], start: int, stop: int, name: str, path: Path) -> StarBlock:
    """Names with one value each."""
    pairs: dict[str, str] = {}
    for number in range(start, stop):
        cells = _tokens(lines[number])
        if not cells:
            continue
        if len(cells) != 2 or not cells[0].startswith("_"):
            raise InputError(
                f"line {number + 1} is neither a name with one value nor the start of a table",
                where=path,
                mend="mend or remove that line",
            )
        pairs[cells[0][1:]] = cells[1]
    frame = _typed({key: [value] for key, value in pairs.items()}, list(pairs))
    return StarBlock(name, frame, False, start + 1)


def read_star(path: Path | str) -> dict[str, StarBlock]:
    """Read all data blocks of a STAR file, by name without ``data_``.

    Raises
    ------
    InputError
        For a file that is missing, binary, without a data block, with a block twice, or with a
        row of the wrong width (its line is named).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=path, mend="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError("not a text file", where=path, mend="give a STAR file") from error
    lines = text.replace("\r\n", "\n").split("\n")
    starts = [i for i, line in enumerate(lines) if line.lstrip().startswith("data_")]
    if not starts or "\0" in text[:4096]:
        raise InputError(
            "not a STAR file: no line begins with data_",
            where=path,
            mend="give the particles' .star file",
        )
    blocks: dict[str, StarBlock] = {}
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        name = _tokens(lines[start])[0][len("data_") :]
        if name in blocks:
            raise InputError(
                f"line {start + 1}: block data_{name} stands twice",
                where=path,
                mend="rename or remove one of them",
            )
        first = next((i for i in range(start + 1, stop) if _tokens(lines[i])), stop)
        is_loop = first < stop and _tokens(lines[first])[0] == "loop_"
        parse = _parse_loop if is_loop else _parse_pairs
        blocks[name] = parse(lines, first + 1 if is_loop else first, stop, name, path)
    return blocks


def _quoted(frame: pl.DataFrame) -> pl.DataFrame:
    """Quote the cells that would not read back as one token."""
    columns = []
    for column in frame.get_columns():
        unsafe = column.str.contains(r"\s|^$|^[#'\"_]") | column.str.contains("^(loop_|data_)")
        if not unsafe.any():
            columns.append(column)
            continue
        quoted = [
            (f"'{cell}'" if '"' in cell else f'"{cell}"') if bad else cell
            for cell, bad in zip(column.to_list(), unsafe.to_list(), strict=True)
        ]
        columns.append(pl.Series(column.name, quoted, dtype=pl.String))
    return pl.DataFrame(columns)


def write_star(path: Path | str, blocks: Iterable[StarBlock]) -> None:
    """Write blocks in RELION's layout, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for block in blocks:
            frame = _quoted(block.frame)
            file.write(f"\n# version 30001\n\ndata_{block.name}\n\n".encode())
            if not block.is_loop:
                for name, value in zip(frame.columns, frame.row(0), strict=True):
                    file.write(f"_{name} {value}\n".encode())
                continue
            header = [f"_{name} #{i}\n" for i, name in enumerate(frame.columns, 1)]
            file.write(("loop_\n" + "".join(header)).encode())
            file.flush()
            frame.write_csv(file, separator=" ", include_header=False, quote_style="never")
            file.write(b"\n")
