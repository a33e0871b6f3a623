"""Room made in a project: what finished jobs no longer need, and jobs put away whole."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from vitreous.errors import InputError, OutputError
from vitreous.io.atomic import atomic_path, write_text
from vitreous.report.job_state import FINISHED, RUNNING, state_of
from vitreous.runs.log import LOG
from vitreous.runs.project import ARCHIVE, Project
from vitreous.runs.replacement import foreign

_BETWEEN = ("checkpoint*.safetensors", "iterations/*")
"""Files that a finished job needs no more."""

_STAYS = ("result.json", "particles.json", "log.jsonl", "report.html")
"""Files of an archived job that stay, so that it is listed and its page can be read."""

ARCHIVED = "archived.json"
"""Tells where the other files of an archived job are."""


@dataclass(frozen=True)
class Freed:
    """Files that were, or would be, removed."""

    folder: Path
    files: list[str]
    size: int


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def _size(folder: Path, names: list[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)


def _between(folder: Path) -> list[str]:
    """Files of a finished job, and of its finished steps, that are needed no more."""
    others = set(foreign(folder))
    names = [
        name
        for name in _files(folder)
        if name not in others and any(fnmatch(name, pattern) for pattern in _BETWEEN)
    ]
    steps = sorted(log.parent for log in folder.glob(f"*/{LOG}"))
    done = [step for step in steps if state_of(step).state == FINISHED]
    return names + [f"{step.name}/{name}" for step in done for name in _between(step)]


def clean(folder: Path, *, dry_run: bool) -> Freed:
    """Remove checkpoints and the maps of iterations of a finished job and of its finished steps.

    Raises
    ------
    InputError
        For a job that has not finished: it would lose what --resume goes on from.
    """
    state = state_of(folder).state
    if state != FINISHED:
        raise InputError(
            f"the job is {state}, and its checkpoint is what --resume goes on from",
            where=folder,
            hint="let it finish first",
        )
    names = _between(folder)
    freed = Freed(folder, names, _size(folder, names))
    if not dry_run:
        _remove(folder, names)
    return freed


def _remove(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def archive(project: Project, folder: Path) -> Path:
    """Put a job's files into a compressed archive; its page and record stay in the folder.

    The archive is read back before anything is removed.

    Raises
    ------
    InputError
        If the job is at work or archived already.
    OutputError
        If the archive is there, or does not hold what it should.
    """
    target = project.root / ARCHIVE / f"{folder.name}.tar.gz"
    if (folder / ARCHIVED).is_file():
        raise InputError("is archived already", where=folder, hint="--restore brings it back")
    if state_of(folder).state == RUNNING:
        raise InputError("is at work", where=folder, hint="wait until it is done")
    if target.exists():
        raise OutputError("is there already", where=target, hint="move it elsewhere")
    target.parent.mkdir(exist_ok=True)
    names = _files(folder)
    sizes = {name: (folder / name).stat().st_size for name in names}
    with atomic_path(target) as temporary:
        with tarfile.open(temporary, "w:gz", compresslevel=4) as file:
            for name in names:
                file.add(folder / name, name)
        with tarfile.open(temporary) as file:
            held = {member.name: member.size for member in file}
        if held != sizes:
            raise OutputError("does not hold all files", where=target, hint="try again")
    write_text(folder / ARCHIVED, json.dumps({"archive": str(target), "files": sizes}) + "\n")
    _remove(folder, [name for name in names if name not in _STAYS])
    return target


def restore(folder: Path) -> Path:
    """Bring an archived job's files back; the archive stays.

    Raises
    ------
    InputError
        If the job is not archived, or its archive is gone.
    """
    mark = folder / ARCHIVED
    if not mark.is_file():
        raise InputError("is not archived", where=folder, hint="nothing is to be done")
    source = Path(json.loads(mark.read_text(encoding="utf-8"))["archive"])
    if not source.is_file():
        raise InputError("is gone", where=source, hint="bring the archive back to its place")
    with tarfile.open(source) as file:
        file.extractall(folder, filter="data")
    mark.unlink()
    return folder
