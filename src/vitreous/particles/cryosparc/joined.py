"""A ``.cs`` file beside the others that describe the same particles, joined by their uids.

cryoSPARC writes what a job found into one file, and what it passed through into another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.io.cryosparc import read_cs
from vitreous.io.cryosparc_group import read_csg
from vitreous.particles.cryosparc.names import IMAGE_COLUMNS

_PASSED = "passthrough"
_JOB = re.compile(r"cryosparc|[pj]\d+|\d{3,}|" + _PASSED)
"""Parts of a file's name that do not tell which particles are meant: project, job, iteration."""


@dataclass(frozen=True)
class JoinedTable:
    """Columns of all files of some particles.

    Attributes
    ----------
    columns : dict of str to array (particles, ...)
    files : tuple of Path
        Where they are from.
    """

    columns: dict[str, np.ndarray]
    files: tuple[Path, ...]


def _missing(uid: np.ndarray, among: np.ndarray) -> np.ndarray:
    return uid[~np.isin(uid, among)]


def _with_columns(
    columns: dict[str, np.ndarray], more: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Columns with those of another file that holds all their uids, in any order."""
    order = np.argsort(more["uid"])
    rows = order[np.searchsorted(more["uid"], columns["uid"], sorter=order)]
    new = [name for name in more if name not in columns]
    return {**columns, **{name: more[name][rows] for name in new}}


def _tokens(path: Path) -> frozenset[str]:
    """What a file's name says of which particles it holds: ``class`` and ``0``, ``selected``."""
    parts = path.stem.casefold().split("_")
    kept = (part for part in parts if not _JOB.fullmatch(part))
    return frozenset(str(int(part)) if part.isdigit() else part for part in kept)


def _passed_through(path: Path) -> list[Path]:
    """Files beside one that may hold what was passed through, those of the likeliest name first."""
    own = _tokens(path)
    beside = (file for file in path.parent.glob(f"*{_PASSED}*.cs") if file != path)
    fitting = [file for file in beside if _tokens(file) <= own]
    return sorted(fitting, key=lambda file: (-len(_tokens(file)), file.name))


def _names_images(columns: Iterable[str]) -> bool:
    return set(IMAGE_COLUMNS) <= set(columns)


def _no_images(path: Path, tried: Iterator[str]) -> InputError:
    reasons = "; ".join(tried) or f"and no {_PASSED} file lies beside it"
    what = f"a {_PASSED} file without its other half" if _PASSED in path.stem else "half of a pair"
    return InputError(
        f"names no images ({what}: no columns {' and '.join(IMAGE_COLUMNS)}), {reasons}",
        where=path,
        hint=f"put the job's {_PASSED} file beside it, or give the group's .csg",
    )


def _read_with_passthrough(path: Path) -> JoinedTable:
    columns, tried = read_cs(path), []
    for file in _passed_through(path) if _PASSED not in path.stem.casefold() else ():
        more = read_cs(file)
        absent = _missing(columns["uid"], more["uid"])
        if not len(absent):
            return JoinedTable(_with_columns(columns, more), (path, file))
        tried.append(
            f"{file.name} lacks {len(absent):,} of its {len(columns['uid']):,} uids, the first "
            f"{absent[0]}"
        )
    if not _names_images(columns):
        raise _no_images(path, iter(tried))
    return JoinedTable(columns, (path,))


def _read_group(path: Path) -> JoinedTable:
    first, *others = sorted(read_csg(path), key=lambda file: _PASSED in file.stem.casefold())
    columns = read_cs(first)
    for file in others:
        more = read_cs(file)
        absent = _missing(columns["uid"], more["uid"])
        if len(absent):
            raise InputError(
                f"{file.name} lacks {len(absent):,} of the {len(columns['uid']):,} uids of "
                f"{first.name}, the first {absent[0]}",
                where=path,
                hint="give files of the same particles",
            )
        columns = _with_columns(columns, more)
    if not _names_images(columns):
        raise _no_images(path, iter([f"nor do its files {first.name} and others"]))
    return JoinedTable(columns, (path, first, *others))


def read_joined(path: Path) -> JoinedTable:
    """Read a ``.cs`` file and the passthrough file beside it, or the files of a ``.csg``.

    Of a column that several have, that of the file itself counts.

    Raises
    ------
    InputError
        As :func:`vitreous.io.cryosparc.read_cs`, for files that name no images, and for rows of a
        group's files that do not match by uid.
    """
    return (_read_group if path.suffix.casefold() == ".csg" else _read_with_passthrough)(path)
