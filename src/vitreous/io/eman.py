"""EMAN2's lists of images, ``.lst``, and its image files, ``.hdf``: read only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.regular import require_regular, text_lines

_MAGIC = "#LSX"


@dataclass(frozen=True)
class ListedImage:
    """An image that a list names.

    Attributes
    ----------
    file : str
        As the list has it.
    index : int
        From 0.
    about : dict
        What else the list says: ``xform.projection``, ``class`` and so on.
    """

    file: str
    index: int
    about: dict[str, Any]


def read_lst(path: Path) -> list[ListedImage]:
    """Images of a list: lines of a number, a file and, from EMAN2.9 on, a JSON dictionary.

    Raises
    ------
    InputError
        For a file that is no list, and for a line that does not parse.
    """
    lines = text_lines(path, hint="give EMAN2's .lst")
    if not lines or not lines[0].startswith(_MAGIC):
        raise InputError(f"does not begin with {_MAGIC}", where=path, hint="give EMAN2's .lst")
    images = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.rstrip().split("\t") if "\t" in line else line.split(None, 2)
        try:
            about = json.loads(parts[2]) if len(parts) > 2 and parts[2].startswith("{") else {}
            index = int(parts[0])
            if index < 0 or not isinstance(about, dict):
                raise ValueError(line)
            images.append(ListedImage(parts[1].strip(), index, about))
        except (ValueError, IndexError, RecursionError) as error:
            raise InputError(
                f"line {number} is no number and file: {line[:60]!r}",
                where=path,
                hint="mend or remove that line",
            ) from error
    if not images:
        raise InputError("zero images", where=path, hint="give a list with images in it")
    return images


def _h5py(path: Path) -> ModuleType:
    """h5py, an extra.

    Raises
    ------
    InputError
        Without it, and for what is no file.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "is an HDF5 file, which is read with h5py, and that is not installed",
            where=path,
            hint="pip install 'vitreous[eman]'",
        ) from error
    require_regular(path)
    found: ModuleType = h5py
    return found


def _no_images(path: Path) -> InputError:
    return InputError("is no HDF5 file of EMAN2's images", where=path, hint="give EMAN2's .hdf")


def _about(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("EMAN."): value for key, value in attributes.items()}


def read_hdf(path: Path) -> list[dict[str, Any]]:
    """What an ``.hdf`` file of EMAN2 says of each image, by the names of EMAN2.

    Raises
    ------
    InputError
        Without h5py, and for a file of another kind.
    """
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            images = file["MDF"]["images"]
            numbers = sorted(int(name) for name in images if name.isdigit())
            return [_about(images[str(n)].attrs) for n in numbers]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _no_images(path) from error


def _pixels(image: Any) -> Float[np.ndarray, "y x"]:
    """Pixels of an image's group; EMAN2 packs them into few bits between a least and a greatest."""
    about, stored = _about(image.attrs), np.asarray(image["image"], np.float32)
    least, greatest = (float(about.get(f"stored_render{end}", 0)) for end in ("min", "max"))
    bits = int(about.get("stored_renderbits", 0))
    if bits > 0 and greatest != least:
        stored = stored / np.float32(2**bits - 1) * (greatest - least) + least
    if stored.ndim == 3 and len(stored) == 1:
        stored = stored[0]
    if stored.ndim != 2 or stored.shape[0] != stored.shape[1]:
        raise ValueError(f"pixels of the shape {stored.shape}, expected a square")
    return stored


def read_hdf_images(path: Path, numbers: Iterable[int]) -> Iterator[Float[np.ndarray, "y x"]]:
    """Images of an ``.hdf`` file of EMAN2, one after the other.

    Raises
    ------
    InputError
        Without h5py, for a file of another kind, and for an image that is not there or no square.
    """
    h5py = _h5py(path)
    number = -1
    try:
        with h5py.File(path, "r") as file:
            images = file["MDF"]["images"]
            for number in numbers:
                yield _pixels(images[str(number)])
    except (OSError, KeyError, TypeError, ValueError) as error:
        if number < 0:
            raise _no_images(path) from error
        reason = "is not there" if isinstance(error, KeyError) else f"is not read: {error}"
        raise InputError(
            f"image {number} {reason}", where=path, hint="give the file as EMAN2 wrote it"
        ) from error
