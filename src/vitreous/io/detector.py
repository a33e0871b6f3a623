"""Files that describe a detector: gain references and maps of defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from vitreous.errors import InputError
from vitreous.io.movies.tiff import opened
from vitreous.io.mrc import in_order, load
from vitreous.io.regular import require_regular

_TIFF = (".tif", ".tiff", ".gain")
_DIVIDES = ".gain"
"""Suffix of TIFF files that a Falcon camera's software divides by."""


def _image(path: Path) -> Float[np.ndarray, "h w"]:
    """One image; TIFF is turned upside down, as movies are."""
    require_regular(path)
    if not path.exists():
        raise InputError("there is no such file", where=path, hint="check the path")
    if path.suffix.lower() in _TIFF:
        with opened(path) as file:
            image = np.asarray(file.pages[0].asarray(), np.float32)[::-1]
    else:
        header, stored = load(path)
        volume = in_order(header, stored)
        if len(volume) != 1:
            raise InputError(
                f"holds {len(volume)} images, expected one", where=path, hint="give one image"
            )
        image = volume[0]
    if image.ndim != 2 or not np.isfinite(image).all():
        raise InputError(
            "is no image in grey of finite values", where=path, hint="write the file again"
        )
    return image


def read_gain(path: Path) -> Float[np.ndarray, "h w"]:
    """What frames are multiplied by; zero where a pixel has no value.

    Raises
    ------
    InputError
        For a file that is missing or holds no image with values above zero.
    """
    image = _image(path)
    if not (image > 0).any():
        raise InputError(
            "holds no value above zero, expected factors near 1",
            where=path,
            hint="give the gain reference, or leave --gain out",
        )
    if path.suffix.lower() == _DIVIDES:
        image = np.where(image > 0, 1 / np.maximum(image, np.finfo(np.float32).tiny), 0)
    return np.ascontiguousarray(image, np.float32)


def _boxes(path: Path, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Rectangles of a text file: x, y, width and height in each line, counted from 0."""
    found = np.zeros(shape, bool)
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            x, y, width, height = (int(float(word)) for word in words[:4])
        except ValueError:
            raise InputError(
                f"line {number} is {line.strip()!r}, expected x, y, width and height",
                where=path,
                hint="mend or remove that line",
            ) from None
        found[max(y, 0) : y + height, max(x, 0) : x + width] = True
    return found


def read_defects(path: Path, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Pixels of a movie that are known to be wrong.

    Parameters
    ----------
    path : Path
        Text with rectangles, or an image of the movie's size, not zero where pixels are wrong.
    shape : tuple of int
        Rows and columns of the movie.

    Raises
    ------
    InputError
        For a file that is missing, of another size, or has a line that is no rectangle.
    """
    if path.suffix.lower() in (".mrc", *_TIFF):
        image = _image(path)
        if image.shape != shape:
            raise InputError(
                f"has {image.shape[1]} x {image.shape[0]} pixels, "
                f"the movie {shape[1]} x {shape[0]}",
                where=path,
                hint="give a map of the movie's size",
            )
        return np.asarray(image != 0)
    require_regular(path)
    if not path.exists():
        raise InputError("there is no such file", where=path, hint="check the path")
    return _boxes(path, shape)
