"""Movies as TIFF files of one page a frame, compressed or not; tifffile reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.io.movies.movie import Movie


def library() -> Any:
    """The module tifffile, which works with imagecodecs.

    Raises
    ------
    InputError
        If one of them is not installed.
    """
    try:
        import imagecodecs  # noqa: F401 - tifffile looks for it only when a frame needs it
        import tifffile
    except ImportError as error:
        raise InputError(
            f"TIFF and EER movies need the library {error.name}, which is not installed",
            hint="run pip install 'vitreous[movies]'",
        ) from error
    return tifffile


class _Complaints(logging.Handler):
    """What tifffile logs as an error and passes over, such as a page beyond the file's end."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Keep what tifffile logs from the terminal, and say it."""
    log, handler = logging.getLogger("tifffile"), _Complaints()
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield handler.said
    finally:
        log.removeHandler(handler)
        log.propagate = before


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file's pages, as tifffile has them.

    Raises
    ------
    InputError
        If it is no TIFF file or is cut off.
    """
    tifffile = library()
    try:
        with _complaints() as said, tifffile.TiffFile(path) as file:
            yield file
            if said:  # else a file that is cut off would pass for a shorter movie
                raise ValueError(said[0])
    except (OSError, ValueError, IndexError, KeyError, tifffile.TiffFileError) as error:
        raise InputError(
            f"cannot be read as TIFF: {error}",
            where=path,
            hint="copy the file again: it may be truncated or empty",
        ) from error


@dataclass(frozen=True)
class TiffMovie(Movie):
    """A file whose pages are frames, the first row at the bottom."""

    def frame(self, number: int) -> np.ndarray:  # noqa: D102
        with opened(self.path) as file:
            page = file.pages[number]
            try:
                found = page.asarray()
            except Exception as error:  # the decoders raise errors of their own
                raise self.broken(number, f"cannot be decoded: {error}") from error
        if found.shape != (self.height, self.width):
            size = " x ".join(str(side) for side in found.shape[::-1])
            raise self.broken(
                number, f"has {size} pixels, the first has {self.width} x {self.height}"
            )
        return np.asarray(found[::-1])


def open_tiff_movie(path: Path) -> TiffMovie:
    """Open a movie; its pages are counted, and the first is looked at."""
    with opened(path) as file:
        frames, first = len(file.pages), file.pages[0]
        if first.ndim != 2:
            raise InputError(
                f"its pages have {first.ndim} dimensions, expected images in grey",
                where=path,
                hint="write the movie with one page of one channel a frame",
            )
        height, width = first.shape
        return TiffMovie(path, frames, height, width, first.dtype)
