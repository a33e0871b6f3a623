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

_PLAIN_STEP = 0.1
"""Share of a stage between two lines where there is no terminal."""


def _words(event: Mapping[str, Any]) -> str:
    words = str(event.get("stage", ""))
    if "resolution" in event:
        words += f", {event['resolution']:.0f} A"
    return words


class ProgressDisplay:
    """Shows events as a bar on a terminal, and as a line now and then elsewhere."""

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
        self._told = 0.0

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
        """Show an event that says how far things are; pass over the others."""
        if "iteration" not in event or "of" not in event:
            return
        done, total = int(event["iteration"]), int(event["of"])
        # The stages of one search share a bar, reading and the last pass have their own.
        kind = str(event["event"] if event["event"] == "iteration" else event.get("stage"))
        if kind != self._kind:
            self._begin(kind, done, total)
        if self._task is not None and self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=total, description=_words(event))
        else:
            self._tell(event, done, total)

    def _begin(self, kind: str, done: int, total: int) -> None:
        self._kind, self._began, self._told, self._first = kind, time.monotonic(), 0.0, done
        if self._console.is_terminal:
            self._task = self._bar.add_task(kind, total=total)

    def _tell(self, event: Mapping[str, Any], done: int, total: int) -> None:
        share = done / max(total, 1)
        if share < self._told + _PLAIN_STEP and done < total:
            return
        self._told = share
        elapsed = time.monotonic() - self._began
        steps = done - self._first
        left = f"{elapsed / steps * (total - done):.0f} s left" if steps else "time left unknown"
        self._console.print(f"{_words(event)}: {done}/{total}, {elapsed:.0f} s, {left}")
