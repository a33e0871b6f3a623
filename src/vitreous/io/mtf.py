"""The modulation transfer function of a detector, as RELION keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.star import read_star

_COLUMNS = ("rlnResolutionInversePixel", "rlnMtfValue")


@dataclass(frozen=True)
class Mtf:
    """How much of each frequency a detector passes on.

    Attributes
    ----------
    frequency : array (points,)
        Cycles a pixel, rising.
    value : array (points,)
        More than 0.
    """

    frequency: Float[np.ndarray, " p"]
    value: Float[np.ndarray, " p"]

    def at(self, frequency: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Value at these cycles a pixel, interpolated linearly; the last one's beyond the end."""
        value: np.ndarray = np.interp(frequency, self.frequency, self.value)
        return value


def read_mtf(path: Path | str) -> Mtf:
    """Read a STAR file with the columns rlnResolutionInversePixel and rlnMtfValue.

    Raises
    ------
    InputError
        If they are missing, hold other than numbers, or a value is not more than 0.
    """
    blocks = read_star(path)
    block = next((b for b in blocks.values() if set(_COLUMNS) <= set(b.frame.columns)), None)
    if block is None or len(block.frame) < 2:
        raise InputError(
            f"no table with the columns {' and '.join('_' + name for name in _COLUMNS)}",
            where=path,
            hint="give the MTF of the detector at its voltage, as a STAR file",
        )
    columns = [block.frame[name].cast(pl.Float64, strict=False).to_numpy() for name in _COLUMNS]
    frequency, value = columns
    wrong = ~np.isfinite(frequency) | ~(value > 0)
    wrong[1:] |= frequency[1:] <= frequency[:-1]
    if wrong.any():
        row = int(wrong.argmax())
        cells = ", ".join(repr(block.frame[name][row]) for name in _COLUMNS)
        raise InputError(
            f"row {row + 1} holds {cells}, expected a frequency above the last row's and a value "
            "of more than 0",
            where=path,
            hint="mend that row",
        )
    return Mtf(frequency, value)
