"""Movies of electron events (EER): many frames, summed to fractions by whoever reads them.

A frame is a TIFF page of run lengths between events, of 7 or 8 bits, each followed by 4 bits for
the place within the pixel.  imagecodecs decodes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vitreous.errors import InputError
from vitreous.io.movies.movie import Movie
from vitreous.io.movies.tiff import opened

_RUN_BITS = {65000: 8, 65001: 7}
"""By TIFF compression: bits of a run length.  The places within a pixel take 2 bits each way."""

_OTHER_BITS = 65002
"""Compression whose bits are said in tags 65007, 65008 and 65009."""


@dataclass(frozen=True)
class EerMovie(Movie):
    """A file of events.

    Attributes
    ----------
    scale : int
        Pixels along each side of the detector's: 1, or 2 for superresolution.
    bits : tuple of int
        Of a run, and of the place within the pixel along x and y.
    """

    scale: int
    bits: tuple[int, int, int]

    def frame(self, number: int) -> np.ndarray:  # noqa: D102
        return self.summed(number, number + 1)

    def summed(self, first: int, last: int) -> UInt8[np.ndarray, "h w"]:
        """Sum of the frames from ``first`` on and before ``last``."""
        import imagecodecs

        total = np.zeros((self.height, self.width), np.uint8)
        with opened(self.path) as file:
            for number in range(first, last):
                page = file.pages[number]
                if (page.imagelength, page.imagewidth) != (
                    self.height // self.scale,
                    self.width // self.scale,
                ):
                    raise self.broken(number, "has another size than the first")
                try:
                    events = b"".join(
                        segment
                        for segment, _ in file.filehandle.read_segments(
                            page.dataoffsets, page.databytecounts
                        )
                    )
                    even = events + b"\0" * (len(events) % 2)  # the decoder takes whole pairs
                    total += imagecodecs.eer_decode(
                        even, total.shape, *self.bits, superres=self.scale // 2
                    )
                except Exception as error:  # the decoder raises errors of its own
                    raise self.broken(number, f"cannot be decoded: {error}") from error
        return total


def _bits(page: Any, path: Path) -> tuple[int, int, int]:
    """Bits of a run, and of the places along x and y, by a page's compression."""
    compression = int(page.tags["Compression"].value)
    if compression in _RUN_BITS:
        return _RUN_BITS[compression], 2, 2
    if compression == _OTHER_BITS:
        run, across, along = (int(page.tags[tag].value) for tag in (65007, 65008, 65009))
        return run, across, along
    raise InputError(
        f"compression {compression} is none of EER (65000 to 65002)",
        where=path,
        hint="give the .eer file that the camera wrote",
    )


def open_eer_movie(path: Path, superresolution: bool) -> EerMovie:
    """Open a movie of events; its frames are counted, and the first is looked at."""
    scale = 2 if superresolution else 1
    with opened(path) as file:
        frames, first = len(file.pages), file.pages[0]
        bits = _bits(first, path)
        height, width = first.imagelength * scale, first.imagewidth * scale
    return EerMovie(path, frames, height, width, np.dtype(np.uint8), scale, bits)
