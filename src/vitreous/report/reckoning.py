"""How far a job is, and the time left, from its events and the times that they came at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_LEAST_SHARE = 0.02
"""Share of the work after which the time that it took tells the time left."""


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

    def left(self, share: float, now: float) -> float | None:
        """Seconds left now that this share of the work is done; None as long as nothing tells."""
        if self._share is None:
            self._share, self._began = share, now
        gone = share - self._share
        return (now - self._began) / gone * (1 - share) if gone >= _LEAST_SHARE else None


@dataclass(frozen=True)
class Reckoned:
    """How far a job is.

    Attributes
    ----------
    step : Step
    share : float
        Of the whole job's work that is done, or of the stage's where the job does not tell its
        stages.
    left : float or None
        Seconds left of the same; None as long as nothing tells.
    at_most : bool
        It may be less.
    """

    step: Step
    share: float
    left: float | None
    at_most: bool


@dataclass(frozen=True)
class _Outer:
    """The step of a road that is at work, and its part of the whole."""

    words: str
    begins: float
    ends: float

    def of(self, inner: Reckoned, left: float | None) -> Reckoned:
        """How far the whole is."""
        share = self.share(inner.share)
        step = replace(inner.step, words=f"{self.words}: {inner.step.words}")
        return Reckoned(step, share, left, False)

    def share(self, inner: float) -> float:
        """Share of the whole that is done."""
        return self.begins + (self.ends - self.begins) * inner


class Reckoning:
    """Goes through a job's events.

    One estimate serves a whole job that tells its stages, or a road that tells its steps; else each
    stage has its own.
    """

    def __init__(self) -> None:
        self._outer: _Outer | None = None
        self._road = Estimate()
        self._begin()

    def _begin(self) -> None:
        self._stages: Mapping[str, float] = {}
        self._stage = ""
        self._whole, self._own, self._furthest = Estimate(), Estimate(), 0.0

    def __call__(self, event: Mapping[str, Any], now: float) -> Reckoned | None:
        """How far the job is after an event at ``now`` (seconds); None if it does not say."""
        if event.get("event") == "step":
            self._begin()
            words = f"step {event['number']} of {event['steps']}, {event['step']}"
            self._outer = _Outer(words, event["from_share"], event["to_share"])
        inner = self._inner(event, now)
        if inner is None or self._outer is None:
            return inner
        return self._outer.of(inner, self._road.left(self._outer.share(inner.share), now))

    def _inner(self, event: Mapping[str, Any], now: float) -> Reckoned | None:
        """The same of a job by itself, or of the step that is at work."""
        if event.get("event") == "start":
            self._begin()
        if event.get("event") == "plan":
            self._stages, self._whole, self._furthest = event["stages"], Estimate(), 0.0
        step = step_of(event)
        if step is None:
            return None
        if step.stage != self._stage:
            self._stage, self._own = step.stage, Estimate()
        whole = share_done(self._stages, step.stage, step.share)
        if whole is None:
            return Reckoned(step, step.share, self._own.left(step.share, now), step.bounded)
        # A stage may come twice, such as reading: the job is no less far then.
        self._furthest = max(self._furthest, whole)
        return Reckoned(step, self._furthest, self._whole.left(self._furthest, now), False)
