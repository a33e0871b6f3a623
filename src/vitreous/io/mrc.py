"""MRC and CCP4 maps and image stacks; stacks are read lazily."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path

_HEADER_BYTES = 1024
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
        Along columns, rows and sections, angstrom; 0 where the file does not say.
    axes : tuple of int
        Which of x (1), y (2), z (3) columns, rows and sections run along.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    pixel_size: tuple[float, float, float]
    axes: tuple[int, int, int]

    @property
    def data_bytes(self) -> int:
        """Bytes that the data take."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def _byte_order(words: bytes, path: Path) -> str:
    """Whichever order makes sense of the size and mode: some programs stamp it wrongly."""
    for order in "<>":
        nx, ny, nz, mode = np.frombuffer(words[:16], dtype=f"{order}i4")
        if 0 < nx < 2**20 and 0 < ny < 2**20 and 0 < nz < 2**28 and 0 <= mode <= 101:
            return order
    raise InputError(
        "not an MRC file: its first words are no image size and mode",
        where=path,
        mend="give an .mrc, .mrcs, .map or .ccp4 file",
    )


def read_header(path: Path | str) -> MrcHeader:
    """Read and check a header, and that the file holds all the data it promises.

    Raises
    ------
    InputError
        For a missing, empty, foreign or truncated file, or a mode that holds no real numbers.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            raw = file.read(_HEADER_BYTES)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=path, mend="check the path"
        ) from error
    if len(raw) < _HEADER_BYTES:
        raise InputError(
            f"truncated: {size} bytes, but an MRC header alone takes {_HEADER_BYTES}",
            where=path,
            mend="copy the file again",
        )
    order = _byte_order(raw, path)
    words = np.frombuffer(raw, dtype=f"{order}i4")
    reals = np.frombuffer(raw, dtype=f"{order}f4")
    nx, ny, nz, mode = (int(w) for w in words[:4])
    if mode not in _DTYPES:
        raise InputError(
            f"MRC mode {mode} is not one of 0, 1, 2, 6, 12",
            where=path,
            mend="convert it to 32-bit reals (mode 2)",
        )
    code = _DTYPES[mode]
    if mode == 0 and words[38] == _IMOD_STAMP and not words[39] & _IMOD_SIGNED_BYTES:
        code = "u1"
    sampling = [int(w) for w in words[7:10]]
    cell = [float(c) for c in reals[10:13]]
    pixel = tuple(
        c / n if n > 0 and np.isfinite(c) else 0.0 for c, n in zip(cell, sampling, strict=True)
    )
    axes = tuple(int(w) for w in words[16:19])
    header = MrcHeader(
        path,
        (nz, ny, nx),
        np.dtype(f"{order}{code}"),
        _HEADER_BYTES + max(0, int(words[23])),
        (pixel[0], pixel[1], pixel[2]),
        (axes[0], axes[1], axes[2]) if sorted(axes) == [1, 2, 3] else (1, 2, 3),
    )
    expected = header.offset + header.data_bytes
    if size < expected:
        raise InputError(
            f"truncated: {size} bytes, but {nz} x {ny} x {nx} values of mode {mode} "
            f"need {expected}",
            where=path,
            mend="copy or write the file again",
        )
    return header


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
    header = read_header(path)
    stored = np.memmap(
        header.path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape
    )
    # Sections, rows, columns lie along axes[2], axes[1], axes[0]; z, y, x is 3, 2, 1.
    along = header.axes[::-1]
    turned = np.transpose(stored, [along.index(axis) for axis in (3, 2, 1)])
    volume = np.array(turned, dtype=np.float32, order="C")
    sizes = header.pixel_size if pixel_size is None else (pixel_size,) * 3
    if min(sizes) <= 0:
        raise InputError(
            "the header gives no pixel size",
            where=path,
            mend="write it there, for instance with relion_image_handler --force_header_angpix",
        )
    if max(sizes) > 1.01 * min(sizes):
        raise InputError(
            f"voxels are not cubes: {sizes[0]:g} x {sizes[1]:g} x {sizes[2]:g} A",
            where=path,
            mend="resample the map to cubic voxels",
        )
    if not np.isfinite(volume).all():
        raise InputError("holds NaN or infinite values", where=path, mend="write the map again")
    return volume, round(sum(sizes) / 3, 6)


def write_map(path: Path | str, volume: Float[np.ndarray, "z y x"], pixel_size: float) -> None:
    """Write a float32 map, whole or not at all; ``pixel_size`` in angstrom."""
    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        file.set_data(np.asarray(volume, dtype=np.float32))
        file.voxel_size = pixel_size


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
        """Images, or some lines of them, at these 0-based indices: float32, in the order asked."""
        data = np.memmap(
            self.path,
            dtype=self.header.dtype,
            mode="r",
            offset=self.header.offset,
            shape=self.shape,
        )
        order = np.argsort(indices, kind="stable")
        some = data[np.asarray(indices)[order], lines]
        images = np.empty(some.shape, dtype=np.float32)
        images[order] = some
        return images


def open_stack(path: Path | str) -> StackFile:
    """Open a stack (or a single image) without reading its data."""
    return StackFile(read_header(path))


class StackWriter:
    """Fills a new float32 stack batch by batch; made by :func:`stack_writer`."""

    def __init__(self, data: np.ndarray):
        self._data = data
        self._next = 0

    def append(self, images: Float[np.ndarray, "m y x"]) -> None:
        """Write the next images."""
        self._data[self._next : self._next + len(images)] = images
        self._next += len(images)


@contextmanager
def stack_writer(
    path: Path | str, box: int, n_images: int, pixel_size: float
) -> Iterator[StackWriter]:
    """Open a new stack for streaming; it appears under its name when the block is done."""
    with atomic_path(path) as temporary:
        with mrcfile.new_mmap(temporary, (n_images, box, box), mrc_mode=2, overwrite=True) as file:
            file.set_image_stack()
            file.voxel_size = pixel_size
            yield StackWriter(file.data)
        os.sync()
