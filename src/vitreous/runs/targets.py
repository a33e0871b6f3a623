"""What a command may write to: never onto, into or over its own inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
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


def _places(path: Path) -> Iterator[Path]:
    """Where a file lies, and where every symbolic link lies that leads to it."""
    here = _named(path)
    for _ in range(_MOST_LINKS):
        yield here
        here = here.parent.resolve() / here.name
        yield here
        if not here.is_symlink():
            return
        here = _named(here.parent / here.readlink())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
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
    roots = {_named(target), target.resolve()}
    there = _identities(target)
    for path in dict.fromkeys(inputs):
        same = _identity(path) in there or any(place in roots for place in _places(path))
        if same and not target.is_dir():
            raise OutputError(f"is the input {path}", where=target, hint="give another name")
        if same or any(roots & set(place.parents) for place in _places(path)):
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
