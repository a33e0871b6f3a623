"""A project: a folder whose jobs are numbered, and that knows which came from which.

``.vitreous/project.json`` marks it.  Jobs are folders in it, such as ``003_refine``; all else that
is told of them is read from these.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vitreous import __version__
from vitreous.errors import InputError, OutputError
from vitreous.io.atomic import write_text

_MARK = Path(".vitreous", "project.json")
_NUMBERED = re.compile(r"(\d+)_[a-z0-9-]+")

ARCHIVE = "archive"
"""Folder of the jobs that were put away."""


@dataclass(frozen=True)
class Project:
    """A project.

    Attributes
    ----------
    root : Path
    name : str
    """

    root: Path
    name: str

    @property
    def own(self) -> Path:
        """Folder of what the project keeps for itself."""
        return self.root / _MARK.parent


def _read(root: Path) -> Project:
    path = root / _MARK
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Project(root, str(found["name"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "is not the record of a project", where=path, hint="make it anew: vitreous project init"
        ) from error


def project_of(place: Path) -> Project | None:
    """The project that a place lies in; None outside of one."""
    here = place.resolve()
    for root in (here, *here.parents):
        if (root / _MARK).is_file():
            return _read(root)
    return None


def the_project(place: Path) -> Project:
    """The project that a place lies in.

    Raises
    ------
    InputError
        Outside of one.
    """
    found = project_of(place)
    if found is None:
        raise InputError(
            "lies in no project",
            where=place.resolve(),
            hint="make one of this folder with vitreous project init",
        )
    return found


def in_project(job: Path) -> bool:
    """Whether a job's folder is one of a project's."""
    return (job.resolve().parent / _MARK).is_file()


def init_project(root: Path, name: str | None) -> Project:
    """Make a project of a folder; its name is the folder's by default.

    Raises
    ------
    OutputError
        If it is or lies in one already, or cannot be written.
    """
    there = project_of(root)
    if there is not None:
        raise OutputError(
            "is a project already" if there.root == root.resolve() else "lies in a project already",
            where=there.root,
            hint="go on in it",
        )
    (root / _MARK.parent).mkdir(parents=True, exist_ok=True)
    found = Project(root.resolve(), name or root.resolve().name)
    record = {
        "name": found.name,
        "version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_text(root / _MARK, json.dumps(record, indent=2) + "\n")
    return found


def number_of(folder: str) -> int | None:
    """Number of a job by its folder's name: 3 of 003_refine; None for another folder."""
    found = _NUMBERED.fullmatch(folder)
    return int(found[1]) if found else None


def new_folder(project: Project, job: str) -> Path:
    """Make the folder of the next job; no two jobs that begin at once get the same."""
    names = [path.name.removesuffix(".unfinished") for path in project.root.iterdir()]
    number = 1 + max((found for name in names if (found := number_of(name)) is not None), default=0)
    while True:
        folder = project.root / f"{number:03d}_{job}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def job_named(project: Project, word: str) -> Path:
    """Folder of a job by its number, its folder's name or its path.

    Raises
    ------
    InputError
        If there is no such job.
    """
    places = [Path(word), project.root / word]
    if word.isdecimal():
        places = [
            path for path in sorted(project.root.iterdir()) if number_of(path.name) == int(word)
        ]
    for place in places:
        if place.is_dir():
            return place
    raise InputError(
        f"there is no job {word!r}",
        where=project.root,
        hint="vitreous project lists the jobs; name one by its number or folder",
    )
