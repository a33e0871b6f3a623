"""Progress with the time left, from the events of a job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PLAIN_LINES = 10
"""Lines for a whole stage where there is no terminal."""


def duration(seconds: float) -> str:
    """Time in words of at most two units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def _words(event: Mapping[str, Any]) -> str:
    words = str(event.get("stage") or event.get("event") or "")
    resolution = event.get("resolution")
    return words if resolution is None else f"{words}, {resolution:.0f} A"


class ProgressDisplay:
    """Shows events as a bar on a terminal, and as a line now and then elsewhere.

    Parameters
    ----------
    console : rich Console, optional
        By default one on standard error.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._kind = ""
        self._began = 0.0
        self._first = 0
        self._told = 0

    def __enter__(self) -> ProgressDisplay:
        """Start the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the bar, leaving what it shows."""
        self._bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show an event that says how far things are, or what they take; pass over the others."""
        if event.get("event") == "memory":
            line = f"memory: about {event['needed_GB']} GB needed, {event['free_GB']} GB free"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)
        if event.get("event") == "note":
            self._console.print(event["text"], soft_wrap=True, highlight=False, markup=False)
        if event.get("iteration") is None or event.get("of") is None:
            return
        done, total = int(event["iteration"]), int(event["of"])
        # The stages of one search share a bar, reading and the last pass have their own.
        search = event.get("event") == "iteration"
        kind = "iteration" if search else str(event.get("stage") or event.get("event"))
        if kind != self._kind:
            self._begin(kind, done, total)
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=_words(event))
        else:
            self._tell(event, done, total)

    def _begin(self, kind: str, done: int, total: int) -> None:
        self._kind, self._began, self._first = kind, time.monotonic(), done
        self._told = -1
        if self._console.is_terminal:
            self._task = self._bar.add_task(kind, total=total, completed=done)

    def _tell(self, event: Mapping[str, Any], done: int, total: int) -> None:
        due = _PLAIN_LINES * done // max(total, 1)
        if due == self._told:
            return
        self._told = due
        elapsed = time.monotonic() - self._began
        steps = done - self._first
        line = f"{_words(event)}: {done}/{total}, {duration(elapsed)}"
        if done < total:
            left = duration(elapsed / steps * (total - done)) if steps else "unknown time"
            line += f", {left} left"
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)
