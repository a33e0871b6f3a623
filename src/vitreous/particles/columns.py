"""Between a STAR file's text and numbers: every typed cell of a table is read here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from vitreous.errors import InputError
from vitreous.io.star import StarBlock

_TRUTHS = {"true": 1.0, "t": 1.0, "yes": 1.0, "false": 0.0, "f": 0.0, "no": 0.0}
"""Words that table tools write in the place of 1 and 0."""

_LARGEST = 2.0**53
"""Whole numbers beyond it are not exact as reals."""


def as_cells(name: str, values: np.ndarray) -> pl.Series:
    """Numbers as text, reals to six decimals."""
    series = pl.Series(name, values)
    return (series.round(6) if series.dtype.is_float() else series).cast(pl.String)


def _require(good: pl.Series, block: StarBlock, name: str, path: Path, expected: str) -> None:
    if not good.all():
        row = int((~good).arg_max() or 0)
        raise InputError(
            f"column _{name}, row {row + 1} holds {block.frame[name][row]!r}, expected {expected}",
            where=path,
            hint="mend that cell",
        )


def _finite(values: pl.Series) -> pl.Series:
    return values.is_finite().fill_null(False)


def numbers_if_any(block: StarBlock, name: str) -> Float[np.ndarray, " n"] | None:
    """Read a column that nothing depends on; None if it is missing or holds anything else."""
    if name not in block.frame.columns:
        return None
    values = block.frame[name].cast(pl.Float64, strict=False)
    return values.to_numpy() if _finite(values).all() else None


def numbers(block: StarBlock, name: str, path: Path) -> Float[np.ndarray, " n"]:
    """Read a column as numbers.

    Raises
    ------
    InputError
        Naming the first row that holds none.
    """
    values = block.frame[name].cast(pl.Float64, strict=False)
    _require(_finite(values), block, name, path, "a number")
    return values.to_numpy()


def whole_numbers(block: StarBlock, name: str, path: Path) -> Int[np.ndarray, " n"]:
    """Read a column as whole numbers, which may be written as reals: ``1.000000`` or ``1e0``.

    Raises
    ------
    InputError
        Naming the first row that holds none.
    """
    values = block.frame[name].cast(pl.Float64, strict=False)
    whole = _finite(values) & ((values == values.round()) & (values.abs() <= _LARGEST))
    _require(whole.fill_null(False), block, name, path, "a whole number")
    return values.to_numpy().astype(np.int64)


def truths(block: StarBlock, name: str, path: Path) -> Bool[np.ndarray, " n"]:
    """Read a column of 1 and 0, or true and false.

    Raises
    ------
    InputError
        Naming the first row that holds neither.
    """
    cells = block.frame[name]
    words = cells.str.to_lowercase().replace_strict(_TRUTHS, default=None, return_dtype=pl.Float64)
    values = cells.cast(pl.Float64, strict=False).fill_null(words)
    _require(values.is_in([0.0, 1.0]).fill_null(False), block, name, path, "1 or 0")
    return values.to_numpy() == 1
