"""What is known of a project's jobs, kept in SQLite and made anew from their folders."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vitreous.errors import InputError
from vitreous.report.job_state import RUNNING, JobState, state_of
from vitreous.runs.project import Project, number_of

_SCHEMA = """
create table if not exists job (
    folder text primary key, stamp text, number integer, job text, state text,
    headline text, began text, seconds real, parents text, picture text)
"""

_OF_A_JOB = ("result.json", "particles.json", "log.jsonl", "report.html")

_PICTURE = re.compile(r'<img src="(data:image/png;base64,[A-Za-z0-9+/=]+)"')


@dataclass(frozen=True)
class JobRow:
    """A job of a project.

    Attributes
    ----------
    folder : str
        In the project.
    number : int
    job : str
        Name of the command.
    state : str
        running, finished, interrupted, failed or stopped.
    headline : str
        What came out, in a few words.
    began : str
        ISO time; empty if unknown.
    seconds : float or None
    parents : tuple of str
        Folders of the jobs whose files it read.
    picture : str
        Data address of a picture of its map; empty without one.
    """

    folder: str
    number: int
    job: str
    state: str
    headline: str
    began: str
    seconds: float | None
    parents: tuple[str, ...]
    picture: str


def headline(state: JobState) -> str:
    """What came out of a job, in a few words."""
    result = state.result
    if state.state != "finished":
        return str(result.get("error") or "")
    words = [str(result["verdict"])] if result.get("verdict") else []
    resolution = result.get("resolution_0143")
    if isinstance(resolution, int | float):
        words.append(f"{resolution:.2f} Å")
    classes = result.get("classes")
    if isinstance(classes, list) and len(classes) > 1:
        words.append(" / ".join(f"{entry.get('fraction') or 0:.0%}" for entry in classes))
    count = result.get("n_particles") or (result.get("input") or {}).get("n_particles")
    return ", ".join(words) or (f"{count:,} particles" if isinstance(count, int) else "")


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)


def parents_of(result: dict[str, Any], root: Path, own: str) -> tuple[str, ...]:
    """Folders of a project that hold files which a job's options name, in their order."""
    directory = Path(str(result.get("directory") or root))
    found = []
    for name, value in (result.get("options") or {}).items():
        if name == "out":
            continue
        for path in _paths(value):
            place = (directory / path).resolve()
            if place.is_relative_to(root) and place != root:
                found.append(place.relative_to(root).parts[0])
    return tuple(
        folder
        for folder in dict.fromkeys(found)
        if folder != own and number_of(folder) is not None and (root / folder).is_dir()
    )


def _picture_in(report: Path) -> str:
    """The first still picture of a map on a page."""
    with suppress(OSError):
        found = _PICTURE.search(report.read_text(encoding="utf-8"))
        return found[1] if found else ""
    return ""


def _row(project: Project, folder: Path) -> JobRow | None:
    try:
        state = state_of(folder)
    except InputError:
        return None
    return JobRow(
        folder.name,
        number_of(folder.name) or 0,
        state.job,
        state.state,
        headline(state),
        "" if state.began is None else state.began.isoformat(timespec="seconds"),
        state.seconds,
        parents_of(state.result, project.root, folder.name),
        _picture_in(folder / "report.html"),
    )


def _stamp(folder: Path) -> str:
    """Changes when anything that is told of a job does."""
    beside = folder.with_name(f"{folder.name}.unfinished")
    times = []
    for path in (*(folder / name for name in _OF_A_JOB), beside / "log.jsonl"):
        with suppress(OSError):
            times.append(path.stat().st_mtime_ns)
    return " ".join(map(str, times))


def _stored(connection: sqlite3.Connection) -> dict[str, tuple[str, JobRow]]:
    connection.row_factory = sqlite3.Row
    found = {}
    for held in connection.execute("select * from job"):
        values = {field.name: held[field.name] for field in fields(JobRow)}
        values["parents"] = tuple(json.loads(held["parents"]))
        found[str(held["folder"])] = str(held["stamp"]), JobRow(**values)
    return found


def _refreshed(project: Project, connection: sqlite3.Connection) -> list[JobRow]:
    connection.execute(_SCHEMA)
    stored, rows = _stored(connection), []
    for folder in sorted(project.root.iterdir()):
        if number_of(folder.name) is None or not folder.is_dir():
            continue
        stamp, (old, known) = _stamp(folder), stored.get(folder.name, ("", None))
        fresh = known is not None and old == stamp and known.state != RUNNING
        row = known if fresh else _row(project, folder)
        if row is None:
            continue
        rows.append(row)
        if not fresh:
            values = (row.folder, stamp, row.number, row.job, row.state, row.headline, row.began,
                      row.seconds, json.dumps(row.parents), row.picture)  # fmt: skip
            connection.execute(
                f"insert or replace into job values ({', '.join('?' * len(values))})", values
            )
    gone = set(stored) - {row.folder for row in rows}
    connection.executemany("delete from job where folder = ?", [(name,) for name in gone])
    connection.commit()
    return sorted(rows, key=lambda row: row.number)


def jobs_of(project: Project, *, keep: bool = True) -> list[JobRow]:
    """All jobs of a project, in the order of their numbers.

    Parameters
    ----------
    project : Project
    keep : bool
        Bring the index up to date; else nothing is written.  An index that is missing or broken
        is made anew.
    """
    path = project.own / "index.sqlite"
    for _ in range(2):
        try:
            with closing(sqlite3.connect(path if keep else ":memory:", timeout=10)) as connection:
                return _refreshed(project, connection)
        except sqlite3.OperationalError:  # a folder that cannot be written, or is in use
            keep = False
        except (sqlite3.DatabaseError, ValueError, TypeError):
            path.unlink(missing_ok=True)
    with closing(sqlite3.connect(":memory:")) as connection:
        return _refreshed(project, connection)
