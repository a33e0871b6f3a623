"""Progress with the time left, from the events of a job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from vitreous.report.terminal import Terminal

_PLAIN_LINES = 10
"""Lines for a whole stage where there is no terminal."""

_LEAST_SHARE = 0.02
"""Share of the work after which the time that it took tells the time left."""


def duration(seconds: float) -> str:
    """Time in words of at most two units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


@dataclass(frozen=True)
class Step:
    """How far a job is.

    Attributes
    ----------
    stage : str
        Name of the stage; all iterations of a search are one.
    words : str
        What is shown of it.
    done, total : int
    share : float
        Of the stage's work that is done.
    bounded : bool
        The stage may end before ``total`` is reached.
    """

    stage: str
    words: str
    done: int
    total: int
    share: float
    bounded: bool

    @property
    def count(self) -> str:
        """Steps done, of how many."""
        return (
            f"{self.done} of at most {self.total}" if self.bounded else f"{self.done}/{self.total}"
        )


def step_of(event: Mapping[str, Any]) -> Step | None:
    """How far a job is, by one of its events; None if the event does not say.

    An event gives the number of steps as ``of``, or as ``at_most`` where there may be fewer, and as
    ``share`` what is done of the work where steps are unlike each other.
    """
    bounded = "at_most" in event
    done, total = event.get("iteration"), event.get("at_most" if bounded else "of")
    if done is None or total is None:
        return None
    words = str(event.get("stage") or event.get("event") or "")
    search = event.get("event") == "iteration"
    stage = "iteration" if search else words
    if event.get("resolution") is not None:
        words = f"{words}, {event['resolution']:.0f} A"
    share = event.get("share", min(done / max(total, 1), 1.0))
    return Step(stage, words, int(done), int(total), float(share), bounded)


def share_done(stages: Mapping[str, float], stage: str, share: float) -> float | None:
    """Share of a whole job that is done; None for a stage whose part is not known.

    Parameters
    ----------
    stages : mapping of str to float
        Stages in order, and the share of the job's time that each is expected to take.
    stage : str
    share : float
        Of this stage.  A stage may end before it is whole: the job is then farther at once.
    """
    if stage not in stages:
        return None
    names = list(stages)
    before = sum(stages[name] for name in names[: names.index(stage)])
    return before + stages[stage] * share


class Estimate:
    """Time left, from the share of the work that is done and the time since it was first known."""

    def __init__(self) -> None:
        self._share: float | None = None
        self._began = 0.0

    def left(self, share: float) -> float | None:
        """Seconds left now that this share of the work is done; None as long as nothing tells."""
        now = time.monotonic()
        if self._share is None:
            self._share, self._began = share, now
        gone = share - self._share
        return (now - self._began) / gone * (1 - share) if gone >= _LEAST_SHARE else None


class ProgressDisplay:
    """Shows events as a bar on a terminal, and as a line now and then elsewhere.

    One bar and one estimate serve a whole job that tells its stages; else each stage has its own.

    Parameters
    ----------
    console : rich Console, optional
        By default the terminal's, on standard error.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or Terminal(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<36}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._stages: Mapping[str, float] = {}
        self._stage = ""
        self._whole = Estimate()
        self._own = Estimate()
        self._furthest = 0.0
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
        if event.get("event") == "start":
            self._begin_job()
        if event.get("event") == "plan":
            self._stages, self._whole, self._furthest = event["stages"], Estimate(), 0.0
        if event.get("event") == "done":
            self._end_job()
        if event.get("event") == "memory":
            line = f"memory: about {event['needed_GB']} GB needed, {event['free_GB']} GB free"
            self._console.print(line, soft_wrap=True)
        if event.get("event") == "note":
            self._console.print(event["text"], soft_wrap=True)
        step = step_of(event)
        if step is None:
            return
        if step.stage != self._stage:
            self._stage, self._own, self._told = step.stage, Estimate(), -1
        whole = share_done(self._stages, step.stage, step.share)
        if whole is None:
            share, left = step.share, self._own.left(step.share)
            bound = "at most" if step.bounded else "about"
        else:  # a stage may come twice, such as reading: the job is no less far then
            self._furthest = share = max(self._furthest, whole)
            left, bound = self._whole.left(share), "about"
        words = "time left unknown" if left is None else f"{bound} {duration(left)} left"
        if self._console.is_terminal:
            self._draw(step, share, words)
        else:
            self._tell(step, words if share < 1 else "")

    def _begin_job(self) -> None:
        self._stages, self._stage, self._whole, self._furthest = {}, "", Estimate(), 0.0
        self._began, self._task = time.monotonic(), None

    def _end_job(self) -> None:
        took = f"done in {duration(time.monotonic() - self._began)}"
        if self._task is not None:
            self._bar.update(self._task, completed=1.0, description=took, left="")
        elif not self._console.is_terminal:
            self._console.print(took, soft_wrap=True)

    def _draw(self, step: Step, share: float, left: str) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=1.0, left="")
        description = f"{step.words}: {step.count}"
        self._bar.update(self._task, completed=share, description=description, left=left)

    def _tell(self, step: Step, left: str) -> None:
        due = int(_PLAIN_LINES * step.share)
        if due == self._told:
            return
        self._told = due
        elapsed = duration(time.monotonic() - self._began)
        line = ", ".join(filter(None, (f"{step.words}: {step.count}", elapsed, left)))
        self._console.print(line, soft_wrap=True)
