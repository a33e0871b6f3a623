"""Rows of a STAR file's tables: quickly where they are plain, token by token where they are not."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from vitreous.errors import InputError

_SPACE = r"[ \t\r\f\v]"
_TOKEN = re.compile(
    rf"""'(?:[^']|'(?!{_SPACE}|$))*'(?={_SPACE}|$)"""
    rf"""|"(?:[^"]|"(?!{_SPACE}|$))*"(?={_SPACE}|$)"""
    r"""|[^ \t\r\f\v]+"""
)
_MARKED = re.compile(rb"""(?:^|\s)['"#]""")

_PIECE = 1 << 22
"""Bytes of rows parsed at a time."""


def raw_tokens(line: str) -> list[str]:
    """Tokens of a line, quotes kept, up to a comment (# at the start of a token)."""
    tokens = []
    for match in _TOKEN.finditer(line):
        if match.group().startswith("#"):
            break
        tokens.append(match.group())
    return tokens


def unquoted(token: str) -> str:
    """A token without the quotes round it."""
    quoted = len(token) > 1 and token[0] in "'\"" and token[-1] == token[0]
    return token[1:-1] if quoted else token


@dataclass(frozen=True)
class Rows:
    """Where the rows of a table stand in a file's text, which is large: no part is copied.

    Attributes
    ----------
    text : bytes
        Of the whole file.
    start, stop : int
    line : int
        Of the first row, from 1.
    """

    text: bytes
    start: int
    stop: int
    line: int

    def are_marked(self) -> bool:
        """Whether quotes or comments stand in them."""
        there = (self.text.find(mark, self.start, self.stop) >= 0 for mark in (b"'", b'"', b"#"))
        # The line end before the first row is looked at, too.
        return any(there) and bool(_MARKED.search(self.text, max(self.start - 1, 0), self.stop))


def _wrong_width(path: Path, line: int, found: int, names: Sequence[str]) -> InputError:
    return InputError(
        f"line {line} has {found} values, but the table has {len(names)} columns",
        where=path,
        hint="mend or remove that line",
    )


def text_frame(rows: Sequence[Sequence[str]], names: Sequence[str]) -> pl.DataFrame:
    """Cells of rows as a table of texts."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        [
            pl.Series(name, list(column), dtype=pl.String)
            for name, column in zip(names, columns, strict=True)
        ]
    )


def _careful_rows(rows: Rows, names: Sequence[str], path: Path) -> pl.DataFrame:
    """Rows of a table that has quotes or comments in it, or a row of the wrong width."""
    found = []
    body = rows.text[rows.start : rows.stop].decode()
    for number, line in enumerate(body.split("\n"), rows.line):
        cells = [unquoted(token) for token in raw_tokens(line)]
        if cells and len(cells) != len(names):
            raise _wrong_width(path, number, len(cells), names)
        if cells:
            found.append(cells)
    return text_frame(found, names)


def _squeezed(text: np.ndarray) -> bytes:
    """Bytes with one space for each run of blanks, and none at the ends of lines."""
    blank = text <= ord(" ")
    before_another = blank[:-1] & blank[1:]
    if not before_another.any():
        return text.tobytes().replace(b"\t", b" ").strip()
    keep = np.append(~before_another, True)  # of a run of blanks the last stays, and every line end
    keep[np.flatnonzero(text == ord("\n"))] = True
    kept = text[keep].tobytes()
    # Searching for what is rarely there costs less than replacing it.
    for found, wanted in ((b"\t", b" "), (b"\n ", b"\n"), (b"\n\n", b"\n")):
        kept = kept.replace(found, wanted) if found in kept else kept
    return kept.strip()


def _pieces(text: bytes, start: int, stop: int) -> Iterator[np.ndarray]:
    """Whole lines, some megabytes at a time, as bytes that share the memory of ``text``."""
    view = np.frombuffer(text, np.uint8)
    while start < stop:
        end = text.find(b"\n", start + _PIECE, stop) + 1 or stop
        yield view[start:end]
        start = end


def _piece_rows(piece: np.ndarray, names: Sequence[str]) -> pl.DataFrame | None:
    """Rows of some lines; None if one of them has the wrong width."""
    text = _squeezed(piece)
    if not text:
        return text_frame([], names)
    if text.startswith(codecs.BOM_UTF8):
        text = codecs.BOM_UTF8 + text  # polars drops one, here it is a cell's
    try:
        frame = pl.read_csv(
            io.BytesIO(text),
            separator=" ",
            has_header=False,
            schema=dict.fromkeys(names, pl.String),
            quote_char=None,
            truncate_ragged_lines=False,
        )
    except pl.exceptions.PolarsError:
        return None
    return None if any(frame.null_count().row(0)) else frame  # a short row is filled with nulls


def _fast_rows(rows: Rows, names: Sequence[str], path: Path) -> pl.DataFrame:
    """Rows without quotes or comments, by polars' reader on single separators."""
    pieces = _pieces(rows.text, rows.start, rows.stop)
    with ThreadPoolExecutor(2) as pool:
        frames = list(pool.map(lambda piece: _piece_rows(piece, names), pieces))
    sound = [frame for frame in frames if frame is not None]
    if len(sound) < len(frames):
        return _careful_rows(rows, names, path)  # it names the line
    return pl.concat([text_frame([], names), *sound], rechunk=False)


def read_rows(rows: Rows, names: Sequence[str], path: Path) -> pl.DataFrame:
    """Read the rows of a table, every cell a text.

    Raises
    ------
    InputError
        For a row of the wrong width; its line is named.
    """
    return (_careful_rows if rows.are_marked() else _fast_rows)(rows, names, path)
