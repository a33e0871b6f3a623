"""Movies as stacks of MRC sections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.io.movies.movie import Movie
from vitreous.io.mrc import open_stack
from vitreous.io.mrc_header import MrcHeader


@dataclass(frozen=True)
class MrcMovie(Movie):
    """A stack whose sections are frames.

    Attributes
    ----------
    header : MrcHeader
    """

    header: MrcHeader

    def frame(self, number: int) -> np.ndarray:  # noqa: D102
        size = self.height * self.width
        offset = self.header.offset + number * size * self.header.dtype.itemsize
        try:
            found = np.fromfile(self.path, self.header.dtype, size, offset=offset)
        except OSError as error:
            raise self.broken(number, f"cannot be read: {error.strerror or error}") from error
        if len(found) < size:
            raise self.broken(number, "ends early: the file became shorter")
        return found.reshape(self.height, self.width)


def open_mrc_movie(path: Path) -> MrcMovie:
    """Open a stack; its header is checked against the file's size."""
    header = open_stack(path).header
    frames, height, width = header.shape
    dtype: np.dtype[Any] = header.dtype
    return MrcMovie(path, frames, height, width, dtype, header)
