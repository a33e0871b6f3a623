"""EMAN2's lists of images, ``.lst``, and its image files, ``.hdf``: read only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def read_hdf(path: Path) -> list[dict[str, Any]]:
    """What an ``.hdf`` file of EMAN2 says of each image, by the names of EMAN2.

    Raises
    ------
    InputError
        Without h5py, and for a file of another kind.
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
    try:
        with h5py.File(path, "r") as file:
            images = file["MDF"]["images"]
            numbers = sorted(int(name) for name in images if name.isdigit())
            return [
                {key.removeprefix("EMAN."): value for key, value in images[str(n)].attrs.items()}
                for n in numbers
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "is no HDF5 file of EMAN2's images", where=path, hint="give EMAN2's .hdf"
        ) from error
