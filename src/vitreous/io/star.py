"""STAR files as RELION writes them: every cell a string, so nothing is lost on the way through."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import polars as pl

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.io.regular import require_regular
from vitreous.io.star_rows import Rows, raw_tokens, read_rows, text_frame, unquoted
from vitreous.io.text import CARRIED, original, utf8

_BLOCK = re.compile(rb"data_([^\s#]*)")
_UNSAFE = r"""^$|^['"#_]|[\x00-\x20]|^(?:data_|loop_)"""
"""A cell that would not read back as one plain token."""

_ODD = rf"{_UNSAFE}|{CARRIED}"
"""A cell that is not written as it stands."""


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


def _lines(text: bytes, start: int, stop: int) -> Iterator[tuple[int, int, str]]:
    """Begin, end and text of the lines of ``text[start:stop]``."""
    while start < stop:
        end = text.find(b"\n", start, stop)
        end = stop if end < 0 else end
        yield start, end, text[start:end].decode()
        start = end + 1


def _end_of_rows(text: bytes, start: int, stop: int) -> int:
    """Where the rows end, before the comment that RELION writes between two blocks."""
    while stop > start:
        last = max(text.rfind(b"\n", start, stop - 1) + 1, start)
        line = text[last:stop].strip()
        if line and not line.startswith(b"#"):
            return stop
        stop = last
    return stop


def _column_name(tokens: Sequence[str], number: int, block: str, path: Path) -> str:
    """Name of a column from its line, which may hold its number too."""
    if tokens[0] == "_" or tokens[1:] not in ([], [str(number)]):
        raise InputError(
            f"the line {' '.join(tokens)!r} in the head of data_{block} is no column name",
            where=path,
            hint="write _name alone on the line",
        )
    return tokens[0][1:]


def _parse_loop(text: bytes, start: int, stop: int, name: str, path: Path) -> StarBlock:
    """Column names, then rows, from ``text[start:stop]`` (after the word loop_)."""
    names: list[str] = []
    row = stop
    for begin, _, line in _lines(text, start, stop):
        tokens = raw_tokens(line)
        if tokens and not tokens[0].startswith("_"):
            row = begin
            break
        names += [_column_name(tokens, len(names) + 1, name, path)] if tokens else []
    twice = {n for n in names if names.count(n) > 1}
    if twice or not names:
        raise InputError(
            f"the table data_{name} has {f'column _{min(twice)} twice' if twice else 'no columns'}",
            where=path,
            hint="write the file again",
        )
    rows = Rows(text, row, _end_of_rows(text, row, stop), text.count(b"\n", 0, row) + 1)
    return StarBlock(name, read_rows(rows, names, path), True, rows.line)


def _parse_pairs(text: bytes, start: int, stop: int, name: str, path: Path) -> StarBlock:
    """Names with one value each."""
    pairs: dict[str, str] = {}
    first = text.count(b"\n", 0, start) + 1
    for number, (_, _, line) in enumerate(_lines(text, start, stop), first):
        tokens = raw_tokens(line)
        if not tokens:
            continue
        if len(tokens) != 2 or not tokens[0].startswith("_") or tokens[0] == "_":
            raise InputError(
                f"line {number} is neither a name with one value nor the start of a table",
                where=path,
                hint="mend or remove that line",
            )
        if tokens[0][1:] in pairs:
            raise InputError(
                f"line {number} gives {tokens[0]} a second value",
                where=path,
                hint="remove one of the two lines",
            )
        pairs[tokens[0][1:]] = unquoted(tokens[1])
    return StarBlock(name, text_frame([list(pairs.values())], list(pairs)), False, first)


def _body_of(text: bytes, start: int, stop: int) -> tuple[bool, int]:
    """Whether a block is a table, and where its names begin."""
    for begin, end, line in _lines(text, start, stop):
        tokens = raw_tokens(line)
        if tokens:
            return (True, end + 1) if tokens == ["loop_"] else (False, begin)
    return False, stop


def _block_starts(text: bytes) -> list[re.Match[bytes]]:
    """Where lines begin with data_ (a search for the word is far faster than one for lines)."""
    starts = []
    at = text.find(b"data_")
    while at >= 0:
        line = text.rfind(b"\n", 0, at) + 1
        match = _BLOCK.match(text, at)
        if match and not text[line:at].strip():
            starts.append(match)
        at = text.find(b"data_", at + 1)
    return starts


def _refuse_strays(text: bytes, start: int, stop: int, path: Path) -> None:
    """Require nothing but blanks and comments, outside a block or after its name."""
    for begin, _, line in _lines(text, start, stop):
        if raw_tokens(line):
            number = text.count(b"\n", 0, begin) + 1
            raise InputError(
                f"line {number} belongs to no block: {line.strip()[:60]!r}",
                where=path,
                hint="move it into a block, or remove it",
            )


def _read_text(path: Path) -> bytes:
    try:
        return utf8(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=path, hint="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError("not a text file", where=path, hint="give a STAR file") from error


def read_star(path: Path | str) -> dict[str, StarBlock]:
    """Read all data blocks of a STAR file, by name without ``data_``.

    Raises
    ------
    InputError
        For a file that is missing, binary, without a data block, with a block, column or name
        twice, with lines that belong to no block, or with a row of the wrong width (its line is
        named).
    """
    path = Path(path)
    require_regular(path)
    text = _read_text(path)
    starts = _block_starts(text)
    if not starts or b"\0" in text[:4096]:
        raise InputError(
            "not a STAR file: no line begins with data_",
            where=path,
            hint="give the particles' .star file",
        )
    _refuse_strays(text, 0, starts[0].start(), path)
    blocks: dict[str, StarBlock] = {}
    ends = [match.start() for match in starts[1:]] + [len(text)]
    for match, stop in zip(starts, ends, strict=True):
        name = match.group(1).decode()
        if name in blocks:
            line = text.count(b"\n", 0, match.start()) + 1
            raise InputError(
                f"line {line}: block data_{name} stands twice",
                where=path,
                hint="rename or remove one of them",
            )
        line_end = text.find(b"\n", match.end(), stop)
        names_from = stop if line_end < 0 else line_end + 1
        _refuse_strays(text, match.end(), names_from, path)
        is_loop, start = _body_of(text, names_from, stop)
        blocks[name] = (_parse_loop if is_loop else _parse_pairs)(text, start, stop, name, path)
    return blocks


def _quoted_cell(cell: str, path: Path) -> str:
    """Quote a cell so that it reads back as one token."""
    for quote in "\"'":
        token = f"{quote}{cell}{quote}"
        if "\n" not in cell and raw_tokens(token) == [token]:
            return token
    raise InputError(
        f"the value {cell!r} cannot stand in a STAR file",
        where=path,
        hint="take the line break, or one kind of quote, out of it",
    )


def _quoted(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, bool]:
    """Quote the cells that need it; a missing cell becomes an empty one.

    Returns
    -------
    Cells, and whether any carries bytes that are not UTF-8.
    """
    frame = frame.select(pl.all().cast(pl.String).fill_null(""))
    odd = frame.select(pl.all().str.contains(_ODD).any())
    columns = [name for name in frame.columns if odd[name].item()]
    carries = frame.select(pl.any_horizontal(pl.col(columns).str.contains(CARRIED).any()))
    quoted = frame.with_columns(
        pl.when(pl.col(name).str.contains(_UNSAFE))
        .then(pl.col(name).map_elements(lambda c: _quoted_cell(c, path), return_dtype=pl.String))
        .otherwise(pl.col(name))
        for name in columns
    )
    return quoted, bool(columns) and bool(carries.item())


def _write_block(file: BinaryIO, block: StarBlock, path: Path) -> None:
    def write(text: str) -> None:
        file.write(original(text.encode()))

    write(f"\n# version 30001\n\ndata_{block.name}\n\n")
    if not block.frame.columns:
        return
    empty = block.frame.is_empty()
    frame, carries = (block.frame, False) if empty else _quoted(block.frame, path)
    if not block.is_loop and len(frame) == 1:
        pairs = zip(frame.columns, frame.row(0), strict=True)
        write("".join(f"_{name} {value}\n" for name, value in pairs))
        return
    header = [f"_{name} #{i}\n" for i, name in enumerate(frame.columns, 1)]
    write("loop_\n" + "".join(header))
    file.flush()
    rows = io.BytesIO() if carries else file
    frame.write_csv(rows, separator=" ", include_header=False, quote_style="never")
    if isinstance(rows, io.BytesIO):
        file.write(original(rows.getvalue()))
    file.write(b"\n")


def write_star(path: Path | str, blocks: Iterable[StarBlock]) -> None:
    """Write blocks in RELION's layout, whole or not at all.

    Raises
    ------
    InputError
        For a value that no quoting can hold (a line break, or both quotes before blanks).
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for block in blocks:
            _write_block(file, block, Path(path))
