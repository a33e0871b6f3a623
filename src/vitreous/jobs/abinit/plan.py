"""How the work of a search is spread over its iterations and stages: the time left goes by it."""

from __future__ import annotations

from itertools import accumulate

from vitreous.jobs.abinit.problem import Problem
from vitreous.math.so3 import orientations_at

_LAST, _POLISHED = 3e4, 7e4
"""Work a particle of the last passes (a class) and of polishing, in the unit of
:func:`work_until`: as long as so many orientations of an image take, by default on one core."""


def work_until(problem: Problem) -> list[float]:
    """Work of a start until each of its iterations begins, and in all.

    It is counted in images times the orientations that are tried of each.
    """
    operators, classes = len(problem.operators), problem.config.classes
    each = (
        step.batch * classes * orientations_at(problem.angular_step(step.resolution), operators)
        for step in problem.steps
    )
    return list(accumulate(each, initial=0.0))


def search_work(problem: Problem) -> float:
    """Work of the iterations of all starts."""
    until = work_until(problem)
    return sum(r.contenders * (until[r.until] - until[r.since]) for r in problem.rounds)


def stage_shares(problem: Problem) -> dict[str, float]:
    """Share of a search's time that each of its stages is expected to take, in their order.

    What is read before the poses are polished takes next to nothing.
    """
    particles, classes = len(problem.table), problem.config.classes
    work = {
        "reading": 0.0,
        "iteration": search_work(problem),
        "last passes": particles * classes * _LAST,
        "poses polished": particles * _POLISHED,
    }
    total = sum(work.values())
    return {stage: part / total for stage, part in work.items()}
