"""How a job stands, whether it is at work, has ended or was stopped: from its folder alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitreous.errors import InputError
from vitreous.report.reckoning import Reckoned, Reckoning
from vitreous.report.record import read_result
from vitreous.runs.lock import lock_path
from vitreous.runs.log import LOG, read_events
from vitreous.runs.replacement import RESULT, has_checkpoint, unfinished

RUNNING, FINISHED, INTERRUPTED, FAILED, STOPPED = (
    "running",
    "finished",
    "interrupted",
    "failed",
    "stopped",
)
"""A job that is stopped ended without a word: it was killed, or its machine went down."""

_SILENT = 1800.0
"""Seconds without an event after which a job on another machine is taken to have stopped."""


@dataclass(frozen=True)
class JobState:
    """How a job stands.

    Attributes
    ----------
    folder : Path
        That it writes to, or wrote to.
    job : str
        Name of the command.
    state : str
        running, finished, interrupted, failed or stopped.
    result : dict
        ``result.json``, as far as it is there; else what the log's beginning tells.
    events : list of dict
    began, heard : datetime or None
        Times of the first and last event.
    reckoned : Reckoned or None
        How far it was at the last event that says so.
    """

    folder: Path
    job: str
    state: str
    result: dict[str, Any]
    events: list[dict[str, Any]] = field(repr=False)
    began: datetime | None
    heard: datetime | None
    reckoned: Reckoned | None

    @property
    def seconds(self) -> float | None:
        """That it has been at work, or was."""
        total = (self.result.get("timings") or {}).get("total_s")
        if total is not None:
            return float(total)
        if self.began is None or self.heard is None:
            return None
        until = datetime.now(UTC) if self.state == RUNNING else self.heard
        return (until - self.began).total_seconds()

    @property
    def left(self) -> float | None:
        """Seconds left now."""
        if self.state != RUNNING or self.reckoned is None or self.reckoned.left is None:
            return None
        assert self.heard is not None
        since = (datetime.now(UTC) - self.heard).total_seconds()
        return max(0.0, self.reckoned.left - since)

    @property
    def can_resume(self) -> bool:
        """Whether --resume would go on with it."""
        return self.state != RUNNING and self.state != FINISHED and has_checkpoint(self.folder)

    @property
    def current(self) -> list[dict[str, Any]]:
        """Events of the step at work; all of a job that has none."""
        begins = [n for n, event in enumerate(self.events) if event.get("event") == "step"]
        return self.events[begins[-1] :] if begins else self.events

    def last(self, name: str) -> Any:
        """The last value that an event gives of something; None if none does."""
        for event in reversed(self.current):
            if event.get(name) not in (None, []):
                return event[name]
        return None

    def series(self, name: str) -> list[float]:
        """All values of a number in the events of iterations and passes, in order."""
        return [
            float(event[name])
            for event in self.current
            if event.get("iteration") is not None and isinstance(event.get(name), int | float)
        ]


def _result(folder: Path) -> dict[str, Any]:
    """The record of a job's end; selections call theirs after their table."""
    found = [folder / name for name in (RESULT, "particles.json") if (folder / name).is_file()]
    return read_result(found[0]) if found else {}


def _time(event: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(event.get("time")))
    except ValueError:
        return None


def _latest(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events since the last process began; those before it are of runs that it resumed."""
    begins = [place for place, event in enumerate(events) if event.get("event") == "process"]
    return events[begins[-1] :] if begins else events


def process_of(events: list[dict[str, Any]]) -> tuple[int, str] | None:
    """Number and machine of the process that wrote the log last."""
    for event in reversed(events):
        if event.get("event") == "process":
            return int(event.get("pid") or 0), str(event.get("host"))
    return None


def _alive(folder: Path, events: list[dict[str, Any]], heard: datetime | None) -> bool:
    """Whether the job's process is at work: its lock lies there, and it runs or was just heard."""
    process = process_of(events)
    out = folder.resolve()
    out = out.with_name(out.name.removesuffix(".unfinished"))
    if process is None or not lock_path(out).exists():
        return False
    number, host = process
    if host != socket.gethostname():
        return heard is not None and (datetime.now(UTC) - heard).total_seconds() < _SILENT
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _reckoned(events: list[dict[str, Any]]) -> Reckoned | None:
    reckoning, found = Reckoning(), None
    for event in events:
        time = _time(event)
        if time is not None:
            found = reckoning(event, time.timestamp()) or found
    return found


def state_of(out: Path) -> JobState:
    """How the job in a folder stands; one that is to replace a former result goes before it.

    Raises
    ------
    InputError
        If no job wrote to the folder, or its ``result.json`` is broken.
    """
    beside = unfinished(out)
    if (beside / LOG).is_file():
        found = _state_in(beside)
        if found.state == RUNNING or not (out / RESULT).is_file():
            return found
    return _state_in(out)


def _state_in(folder: Path) -> JobState:
    result = _result(folder)
    log = folder / LOG
    events = read_events(log) if log.is_file() else []
    if not result and not events:
        raise InputError(
            "no job has written here: neither result.json nor log.jsonl is there",
            where=folder,
            hint="give the folder of a job (its --out)",
        )
    times = [time for event in events if (time := _time(event)) is not None]
    began, heard = (times[0], times[-1]) if times else (None, None)
    latest = _latest(events)
    if _alive(folder, events, heard):
        state = RUNNING
    elif result:
        state = str(result.get("status", FINISHED))
    else:
        state = STOPPED
    told = {name: value for event in events if event.get("event") == "process"
            for name, value in event.items()}  # fmt: skip
    named = [str(event["job"]) for event in events if event.get("job")]
    job = str(result.get("job") or told.get("job") or (named[0] if named else "job"))
    return JobState(folder, job, state, result or told, events, began, heard, _reckoned(latest))
