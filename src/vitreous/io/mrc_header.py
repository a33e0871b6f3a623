"""The header of MRC and CCP4 files (Cheng et al., J. Struct. Biol. 192, 146 (2015))."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitreous.errors import InputError

HEADER_BYTES = 1024
"""Bytes of a header, without the extended one that may follow."""

_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1


@dataclass(frozen=True)
class MrcHeader:
    """What is needed to find the numbers in a file.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        Sections, rows and columns as stored.
    dtype : numpy dtype
        With its byte order.
    offset : int
        Bytes before the data.
    pixel_size : tuple of float
        Along x, y and z, angstrom; 0 where the file does not say.
    axes : tuple of int
        Which of x (1), y (2), z (3) columns, rows and sections run along.
    mode : int
        As the file says.
    origin : tuple of float
        Where the first voxel lies, x, y, z in angstrom: ORIGIN or, if that is zero, NSTART times
        the pixel, as viewers take it.
    angles : tuple of float
        Of the cell, degrees; 0 where the file does not say.
    is_stack : bool
        A stack of images, as the name, or the space group and the sampling along z, tell.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    pixel_size: tuple[float, float, float]
    axes: tuple[int, int, int]
    mode: int
    origin: tuple[float, float, float]
    angles: tuple[float, float, float]
    is_stack: bool

    @property
    def data_bytes(self) -> int:
        """Bytes that the data take."""
        return math.prod(self.shape) * self.dtype.itemsize


def _byte_order(words: bytes, path: Path) -> str:
    """Whichever order makes sense of the size and mode: some programs stamp it wrongly."""
    for order in "<>":
        nx, ny, nz, mode = np.frombuffer(words[:16], dtype=f"{order}i4")
        if 0 < nx < 2**20 and 0 < ny < 2**20 and 0 < nz < 2**28 and 0 <= mode <= 101:
            return order
    raise InputError(
        "not an MRC file: its first words are no image size and mode",
        where=path,
        hint="give an .mrc, .mrcs, .map or .ccp4 file",
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    """Three header words, 0 for those that are no numbers."""
    x, y, z = (float(v) if np.isfinite(v) else 0.0 for v in values)
    return x, y, z


def parse_header(raw: bytes, size: int, path: Path) -> MrcHeader:
    """Header from a file's first bytes, checked against the file's size.

    Raises
    ------
    InputError
        For a foreign or truncated file, or a mode that holds no real numbers.
    """
    if len(raw) < HEADER_BYTES:
        raise InputError(
            f"truncated: {size} bytes, but an MRC header alone takes {HEADER_BYTES}",
            where=path,
            hint="copy the file again",
        )
    order = _byte_order(raw, path)
    words = np.frombuffer(raw, dtype=f"{order}i4")
    reals = np.frombuffer(raw, dtype=f"{order}f4")
    nx, ny, nz, mode = (int(w) for w in words[:4])
    if mode not in _DTYPES:
        raise InputError(
            f"MRC mode {mode} is not one of 0, 1, 2, 6, 12",
            where=path,
            hint="convert it to 32-bit reals (mode 2)",
        )
    code = _DTYPES[mode]
    if mode == 0 and words[38] == _IMOD_STAMP and not words[39] & _IMOD_SIGNED_BYTES:
        code = "u1"
    sampling = [int(w) for w in words[7:10]]
    cell = _triple(reals[10:13])
    pixel = tuple(c / n if n > 0 else 0.0 for c, n in zip(cell, sampling, strict=True))
    axes = tuple(int(w) for w in words[16:19])
    axes = axes if sorted(axes) == [1, 2, 3] else (1, 2, 3)
    origin = _triple(reals[49:52])
    if origin == (0, 0, 0):
        start = [int(words[4 + axes.index(axis)]) for axis in (1, 2, 3)]
        origin = _triple(np.multiply(start, pixel))
    header = MrcHeader(
        path,
        (nz, ny, nx),
        np.dtype(f"{order}{code}"),
        HEADER_BYTES + max(0, int(words[23])),
        (pixel[0], pixel[1], pixel[2]),
        (axes[0], axes[1], axes[2]),
        mode,
        origin,
        _triple(reals[13:16]),
        ".mrcs" in path.suffixes or (nz > 1 and int(words[22]) == 0 and sampling[2] == 1),
    )
    expected = header.offset + header.data_bytes
    if size < expected:
        raise InputError(
            f"truncated: {size} bytes, but {nz} x {ny} x {nx} values of mode {mode} "
            f"need {expected}",
            where=path,
            hint="copy or write the file again",
        )
    return header
