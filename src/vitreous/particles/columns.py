"""Between a STAR file's text and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.star import StarBlock


def as_cells(name: str, values: np.ndarray) -> pl.Series:
    """Numbers as text, reals to six decimals."""
    series = pl.Series(name, values)
    return (series.round(6) if series.dtype.is_float() else series).cast(pl.String)


def numbers_if_any(block: StarBlock, name: str) -> Float[np.ndarray, " n"] | None:
    """Read a column that nothing depends on; None if it is missing or holds anything else."""
    if name not in block.frame.columns:
        return None
    values = block.frame[name].cast(pl.Float64, strict=False)
    return values.to_numpy() if values.is_finite().fill_null(False).all() else None


def numbers(block: StarBlock, name: str, path: Path) -> Float[np.ndarray, " n"]:
    """Read a column as numbers.

    Raises
    ------
    InputError
        Naming the first row that holds none.
    """
    cells = block.frame[name]
    values = cells.cast(pl.Float64, strict=False)
    bad = values.is_null() | ~values.is_finite().fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f"column _{name}, row {row + 1} holds {cells[row]!r}, expected a number",
            where=path,
            mend="mend that cell",
        )
    return values.to_numpy()
