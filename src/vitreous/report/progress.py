"""Progress with the time left, from the events of a job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from vitreous.report.notebook import NotebookBar
from vitreous.report.reckoning import Reckoned, Reckoning
from vitreous.report.terminal import Terminal

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


def _bar(console: Console, drawn: bool) -> Progress:
    return Progress(
        TextColumn("{task.description:<36}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        disable=not drawn,
    )


class ProgressDisplay:
    """Shows events as a bar on a terminal and in a notebook, and as a line now and then elsewhere.

    One bar and one estimate serve a whole job that tells its stages; else each stage has its own.

    Parameters
    ----------
    console : rich Console, optional
        By default the terminal's, on standard error.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or (Console() if Console().is_jupyter else Terminal(stderr=True))
        self._drawn = self._console.is_terminal or self._console.is_jupyter
        self._bar = NotebookBar() if self._console.is_jupyter else _bar(self._console, self._drawn)
        self._task: TaskID | None = None
        self._reckoning = Reckoning()
        self._stage = ""
        self._began = time.monotonic()
        self._told = -1

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
        found = self._reckoning(event, time.monotonic())
        if event.get("event") == "start":
            self._stage, self._began, self._task = "", time.monotonic(), None
        if event.get("event") == "done":
            self._end_job()
        if event.get("event") == "memory":
            line = f"memory: about {event['needed_GB']} GB needed, {event['free_GB']} GB free"
            self._console.print(line, soft_wrap=True)
        if line := _line_of(event):
            self._console.print(line, soft_wrap=True, markup=False)
        if found is None:
            return
        if found.step.stage != self._stage:
            self._stage, self._told = found.step.stage, -1
        if self._drawn:
            self._draw(found)
        else:
            self._tell(found)

    def _end_job(self) -> None:
        took = f"done in {duration(time.monotonic() - self._began)}"
        if self._task is not None:
            self._bar.update(self._task, completed=1.0, description=took, left="")
        elif not self._drawn:
            self._console.print(took, soft_wrap=True)

    def _draw(self, found: Reckoned) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=1.0, left="")
        description = f"{found.step.words}: {found.step.count}"
        left = _left(found)
        self._bar.update(self._task, completed=found.share, description=description, left=left)

    def _tell(self, found: Reckoned) -> None:
        step = found.step
        due = int(_PLAIN_LINES * step.share)
        if due == self._told:
            return
        self._told = due
        elapsed = duration(time.monotonic() - self._began)
        left = _left(found) if found.share < 1 else ""
        line = ", ".join(filter(None, (f"{step.words}: {step.count}", elapsed, left)))
        self._console.print(line, soft_wrap=True)


def _line_of(event: Mapping[str, Any]) -> str:
    """What is said of an event that is no progress; empty for most."""
    if event.get("event") == "note":
        return str(event["text"])
    if event.get("event") == "step":
        return f"step {event['number']} of {event['steps']}: {event['command']}"
    if event.get("event") == "step done":
        return f"{event['folder']}: {event['outcome']}"
    if event.get("event") == "decision":
        return f"{event['what']} {event['why']}"
    return ""


def _left(found: Reckoned) -> str:
    """Time left in words."""
    if found.left is None:
        return "time left unknown"
    return f"{'at most' if found.at_most else 'about'} {duration(found.left)} left"
