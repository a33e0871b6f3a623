"""FREALIGN's ``.par`` files, the fixed columns that cisTEM's programs came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from vitreous.errors import InputError
from vitreous.io.atomic import write_text
from vitreous.io.regular import text_lines

_OLD = (
    *("C", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "FILM", "DF1", "DF2", "ANGAST"),
    *("OCC", "LOGP", "SIGMA", "SCORE", "CHANGE"),
)
_NEW = (*_OLD[:11], "PSHIFT", *_OLD[11:])
"""With a phase plate's shift, as FREALIGN X and cisTEM have it."""

LAYOUTS = {len(names): names for names in (_OLD, _NEW)}

_ANOTHER = {"C": "NO", "LOGP": "-LOGP", "FILM": "INCLUDE"}


def _named(comment: str) -> tuple[str, ...] | None:
    """Columns that a comment line names; None for any other comment."""
    words = tuple(word.upper() for word in comment.split())
    if len(words) not in LAYOUTS or "PSI" not in words:
        return None
    back = {other: name for name, other in _ANOTHER.items()}
    return tuple(back.get(word, word) for word in words)


def read_par(path: Path) -> pl.DataFrame:
    """Rows of a ``.par`` file as text, under the names of FREALIGN's columns.

    Comment lines begin with C; the last that names the columns tells their order.

    Raises
    ------
    InputError
        For a file that is no text, and rows of another width than the columns.
    """
    rows: list[Sequence[str]] = []
    names: tuple[str, ...] | None = None
    for number, line in enumerate(text_lines(path, hint="give a .par file"), 1):
        cells = line.split()
        if not cells or cells[0].startswith(("C", "#")):
            names = _named(line) or names if not rows else names
            continue
        names = names or LAYOUTS.get(len(cells))
        if names is None or len(cells) != len(names):
            raise InputError(
                f"line {number} has {len(cells)} values, expected "
                f"{' or '.join(map(str, LAYOUTS)) if names is None else len(names)}",
                where=path,
                hint="mend or remove that line",
            )
        rows.append(cells)
    if names is None:
        raise InputError("zero particles", where=path, hint="give a table with particles in it")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def write_par(path: Path, frame: pl.DataFrame) -> None:
    """Write rows of text in FREALIGN's columns, whole or not at all."""
    header = "C" + "".join(f" {name:>12}" for name in frame.columns[1:])
    rows = ("".join(f" {cell:>12}" for cell in row) for row in frame.rows())
    write_text(path, "\n".join([header, *rows]) + "\n")
