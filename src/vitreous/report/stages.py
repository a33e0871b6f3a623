"""How the time of a job is spread over its stages: the time left is estimated from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STAGES: Final[Mapping[str, tuple[tuple[str, float], ...]]] = {
    "abinit": (
        ("reading", 0.04),
        ("iteration", 0.46),
        ("last passes", 0.15),
        ("poses polished", 0.35),
    ),
}
"""Stages of each job in order, and the share of its time that each takes by default."""


def share_done(job: str, stage: str, share: float) -> float | None:
    """Share of a whole job that is done; None for jobs and stages whose part is not known.

    Parameters
    ----------
    job, stage : str
        As its events name them.
    share : float
        Of this stage.  A stage may end before it is whole: the job is then farther at once.
    """
    before = 0.0
    for name, part in STAGES.get(job, ()):
        if name == stage:
            return before + part * share
        before += part
    return None
