"""MRC and CCP4 maps, read whole, and image stacks, of which what is asked for is read."""

from __future__ import annotations

import bz2
import gzip
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import mrcfile
import numpy as np
from jaxtyping import Float, Real
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.io.mrc_header import HEADER_BYTES, MrcHeader, parse_header
from vitreous.io.regular import require_regular

COMPRESSED = {".gz": ("gzip", gzip.decompress), ".bz2": ("bzip2", bz2.decompress)}
"""Suffix to mrcfile's name of the compression, and what undoes it."""

_LABEL = "Written by vitreous"
"""Of every map: without the time, so that the same map is the same file."""

_WHOLE = 1e-3
"""Pixels by which an origin may miss a whole number of them, by rounding."""


def read_header(path: Path | str) -> MrcHeader:
    """Read and check a header, and that the file holds all the data it promises.

    Raises
    ------
    InputError
        For a missing, empty, foreign or truncated file, or a mode that holds no real numbers.
    """
    path = Path(path)
    require_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse_header(raw, size, path)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot be read: {error.strerror or error}", where=path, hint="check the path"
    )


def load(
    path: Path | str, accept: Callable[[MrcHeader], None] = lambda header: None
) -> tuple[MrcHeader, NDArray[Any]]:
    """Header and numbers as stored: sections, rows, columns.

    A file compressed by gzip or bzip2 is expanded in memory.  ``accept`` may refuse a header by an
    error before the numbers are read.

    Raises
    ------
    InputError
        As :func:`read_header`, and for a file that becomes shorter as it is read.
    """
    path = Path(path)
    if path.suffix.lower() not in COMPRESSED:
        header = read_header(path)
        accept(header)
        return header, _numbers(header)
    _, expand = COMPRESSED[path.suffix.lower()]
    require_regular(path)
    try:
        content = expand(path.read_bytes())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _unreadable(path, OSError(*error.args)) from error
    header = parse_header(content[:HEADER_BYTES], len(content), path)
    accept(header)
    count = math.prod(header.shape)
    stored = np.frombuffer(content, header.dtype, count, header.offset)
    return header, stored.reshape(header.shape)


def _numbers(header: MrcHeader) -> NDArray[Any]:
    """All numbers of a file.  A memory map would end the program where the file ends."""
    stored = np.empty(header.shape, header.dtype)
    try:
        with header.path.open("rb") as file:
            file.seek(header.offset)
            found = file.readinto(stored.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise _unreadable(header.path, error) from error
    if found < stored.nbytes:
        raise InputError(
            f"holds {found} of the {stored.nbytes} bytes of its values: it became shorter as it "
            "was read",
            where=header.path,
            hint="copy or write the file again, and start when it is whole",
        )
    return stored


def in_order(header: MrcHeader, stored: np.ndarray) -> Float[np.ndarray, "z y x"]:
    """Numbers of :func:`load` as float32 along z, y, x."""
    # Sections, rows, columns lie along axes[2], axes[1], axes[0]; z, y, x is 3, 2, 1.
    along = header.axes[::-1]
    turned = np.transpose(stored, [along.index(axis) for axis in (3, 2, 1)])
    return np.require(turned, np.float32, ["C", "W"])


def cubic_voxel(header: MrcHeader, pixel_size: float | None = None) -> float:
    """Pixel size in angstrom, the one given or the header's.

    Raises
    ------
    InputError
        If it is unknown or differs between the axes.
    """
    sizes = header.pixel_size if pixel_size is None else (pixel_size,) * 3
    if min(sizes) <= 0:
        raise InputError(
            "the header gives no pixel size",
            where=header.path,
            hint="write it there with vitreous map convert --pixel-size",
        )
    if max(sizes) > 1.01 * min(sizes):
        raise InputError(
            f"voxels are not cubes: {sizes[0]:g} x {sizes[1]:g} x {sizes[2]:g} A",
            where=header.path,
            hint="resample the map to cubic voxels",
        )
    return round(sum(sizes) / 3, 6)


def read_map(
    path: Path | str, pixel_size: float | None = None
) -> tuple[Float[np.ndarray, "z y x"], float]:
    """Read a map as float32 (z, y, x) with its pixel size in angstrom.

    A ``pixel_size`` given is taken instead of the header's.

    Raises
    ------
    InputError
        Also for an unknown or unequal pixel size and for values that are not finite.
    """
    header, stored = load(path)
    volume, size = in_order(header, stored), cubic_voxel(header, pixel_size)
    if not np.isfinite(volume).all():
        raise InputError("holds NaN or infinite values", where=path, hint="write the map again")
    return volume, size


def write_map(
    path: Path | str,
    volume: Real[np.ndarray, "z y x"],
    pixel_size: float,
    *,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    dtype: np.dtype[Any] | type[np.generic] = np.float32,
) -> None:
    """Write a map, whole or not at all, compressed if its name ends in .gz or .bz2.

    Parameters
    ----------
    path : Path
    volume : array (z, y, x)
    pixel_size : float
        Angstrom.
    origin : tuple of float
        Where the first voxel lies, x, y, z in angstrom.  Written as ORIGIN and, where it is a
        whole number of pixels, as NSTART too: programs read the one or the other.
    dtype : numpy dtype
        How numbers are stored, which they must fit: float32, float16, int16 or int8.
    """
    compression, _ = COMPRESSED.get(Path(path).suffix.lower(), (None, None))
    with (
        atomic_path(path) as temporary,
        mrcfile.new(temporary, compression=compression, overwrite=True) as file,
    ):
        file.set_data(np.asarray(volume, dtype=dtype))
        file.voxel_size = pixel_size
        file.header.origin = origin
        file.header.label[0] = _LABEL
        start = np.divide(origin, pixel_size)
        if np.abs(start - start.round()).max() < _WHOLE:
            file.nstart = tuple(int(step) for step in start.round())


def read_micrograph(path: Path | str) -> Float[np.ndarray, "y x"]:
    """Read a file of one image as float32.

    Raises
    ------
    InputError
        As :func:`load`, and for several sections or values that are not finite.
    """

    def one_section(header: MrcHeader) -> None:
        if header.shape[0] != 1:
            raise InputError(
                f"holds {header.shape[0]} sections, expected a micrograph of one",
                where=path,
                hint="align the frames of a movie first with vitreous motion",
            )

    header, stored = load(path, one_section)
    image = in_order(header, stored)[0]
    if not np.isfinite(image).all():
        raise InputError(
            "holds NaN or infinite values", where=path, hint="make the micrograph again"
        )
    return image


@dataclass(frozen=True)
class StackFile:
    """An image stack on disk; nothing but the header is read before :meth:`read`."""

    header: MrcHeader

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, rows, columns."""
        return self.header.shape

    @property
    def pixel_size(self) -> float:
        """Angstrom a pixel; 0 where the header does not say."""
        return self.header.pixel_size[0]

    def read(self, indices: np.ndarray, lines: slice = slice(None)) -> Float[np.ndarray, "n y x"]:
        """Images, or some neighbouring lines of them, at these 0-based indices: float32.

        Raises
        ------
        InputError
            If the file has vanished or become shorter since it was opened.
        """
        _, height, width = self.shape
        span, dtype = range(height)[lines], self.header.dtype
        images = np.empty((len(indices), len(span), width), dtype=dtype)
        try:
            with self.path.open("rb", buffering=0) as file:
                # In the file's order; plain reads, as in _numbers().
                for place in np.argsort(indices, kind="stable"):
                    line = int(indices[place]) * height + span.start
                    start = self.header.offset + line * width * dtype.itemsize
                    if os.preadv(file.fileno(), [images[place]], start) < images[place].nbytes:
                        raise _shortened(self.path, int(indices[place]))
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return images.astype(np.float32, copy=False)


def _shortened(path: Path, index: int) -> InputError:
    return InputError(
        f"ends before its image {index + 1}: it became shorter since it was opened",
        where=path,
        hint="restore the file",
    )


def open_stack(path: Path | str) -> StackFile:
    """Open a stack (or a single image) without reading its data."""
    return StackFile(read_header(path))


class StackWriter:
    """Fills a new stack batch by batch; made by :func:`stack_writer`."""

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int], dtype: str):
        self._file = file
        self._shape = shape
        self._dtype = dtype
        self.written = 0

    def append(self, images: Float[np.ndarray, "m y x"]) -> None:
        """Write the next images.

        Raises
        ------
        ValueError
            For images of another box, or more of them than were announced.
        """
        self.written += len(images)
        if images.shape[1:] != self._shape[1:] or self.written > self._shape[0]:
            raise ValueError(f"{images.shape} after {self.written} of {self._shape}")
        self._file.write(np.ascontiguousarray(images, dtype=self._dtype).data)


_MODES = {"<f4": 2, "<f2": 12}
"""Numbers that stacks are written in, and MRC's modes of them."""


def _stack_header(box: int, n_images: int, pixel_size: float, mode: int) -> bytes:
    """Header of a stack of images whose greatest and least values are not known."""
    header = np.zeros((), dtype=HEADER_DTYPE)
    header["nx"] = header["ny"] = header["mx"] = header["my"] = box
    header["nz"], header["mz"], header["mode"] = n_images, 1, mode
    header["cella"] = (box * pixel_size, box * pixel_size, pixel_size)
    header["cellb"] = (90, 90, 90)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1
    header["map"], header["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    header["nversion"] = 20141
    return header.tobytes()


@contextmanager
def stack_writer(
    path: Path | str, box: int, n_images: int, pixel_size: float, *, float16: bool = False
) -> Iterator[StackWriter]:
    """Open a new stack for streaming; it appears under its name when the block is done.

    Numbers are written as float32, or as float16: half the space.
    """
    dtype = "<f2" if float16 else "<f4"
    with atomic_path(path) as temporary:
        # Plain writes: on a full disk a memory map would end the program without a word.
        with temporary.open("wb") as file:
            file.write(_stack_header(box, n_images, pixel_size, _MODES[dtype]))
            writer = StackWriter(file, (n_images, box, box), dtype)
            yield writer
        if writer.written != n_images:
            raise ValueError(f"{writer.written} images were written of {n_images}")
