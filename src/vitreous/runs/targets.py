"""What a command may write to: never onto, into or over its own inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitreous.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_WRITTEN = ("out", "json", "xml")
"""Options that name what is written; all other paths are read."""

_MOST_LINKS = 40
"""Symbolic links that may lead to a file one after the other, as the system has it."""


def inputs_of(config: DataclassInstance) -> list[Path]:
    """All files that a job's options name to be read."""
    found = []
    for field in fields(config):
        value: Any = getattr(config, field.name)
        if field.name not in _WRITTEN:
            values = value if isinstance(value, tuple) else (value,)
            found += [one for one in values if isinstance(one, Path)]
    return found


def _named(path: Path) -> Path:
    """The path from the root, links left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _places(path: Path, real: Callable[[str], str]) -> Iterator[str]:
    """Where a file lies, and where every symbolic link lies that leads to it.

    Parameters
    ----------
    path : Path
    real : callable
        Gives a folder without links. Thousands of stacks lie in a few folders, so it is worth
        remembering what it gave; for their sake names are texts here, too.
    """
    here = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
    for _ in range(_MOST_LINKS):
        yield here
        folder, name = os.path.split(here)
        here = os.path.join(real(folder), name)  # noqa: PTH118
        yield here
        try:
            link = os.readlink(here)  # noqa: PTH115
        except (OSError, ValueError):
            return
        here = os.path.abspath(os.path.join(real(folder), link))  # noqa: PTH100, PTH118


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _identities(target: Path) -> set[tuple[int, int]]:
    """Of the file, or of all files in the folder that have a second name elsewhere."""
    if not target.is_dir():
        return {found for found in [_identity(target)] if found}
    found = set()
    for folder, _, names in os.walk(target):
        for name in names:
            stat = (Path(folder) / name).lstat()
            if stat.st_nlink > 1:
                found.add((stat.st_dev, stat.st_ino))
    return found


def spare_inputs(target: Path, inputs: Iterable[Path]) -> None:
    """Refuse a file or folder that is an input or holds one, by whatever name or link.

    Raises
    ------
    OutputError
        Naming the input.
    """
    roots = {str(_named(target)), str(target.resolve())}
    within = tuple(os.path.join(root, "") for root in roots)  # noqa: PTH118
    there, is_folder, real = _identities(target), target.is_dir(), lru_cache(os.path.realpath)
    for path in dict.fromkeys(inputs):
        places = list(_places(path, real))
        same = not roots.isdisjoint(places) or _identity(path) in there
        if same and not is_folder:
            raise OutputError(f"is the input {path}", where=target, hint="give another name")
        if same or any(place.startswith(within) for place in places):
            raise OutputError(
                f"holds the input {path}", where=target, hint="give a folder of its own with --out"
            )


def spared(target: Path, inputs: Sequence[Path], overwrite: bool) -> Path:
    """The file's path, once it is seen that nothing is lost by writing there.

    Raises
    ------
    OutputError
        If it is one of the inputs, or is there and not to be replaced.
    """
    spare_inputs(target, inputs)
    if target.exists() and not (overwrite and target.is_file()):
        raise OutputError(
            "is there already", where=target, hint="pass --overwrite or give another name"
        )
    return target
