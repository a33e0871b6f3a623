"""How the work of a search is spread over its iterations and stages: the time left goes by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from vitreous.engine.mini_batches import Step
from vitreous.math.so3 import orientations_at
from vitreous.schedules.abinit.context import RunContext
from vitreous.schedules.abinit.schedule import Round, gather_steps, joint_steps, split_steps

_PRODUCTS, _FIXED = 14, 9e6
"""Work for each orientation of an image that does not depend on the rings, and of an iteration that
depends on neither: fitted to iterations of 100 to 1,000 images and 5 to 20 rings."""

_LAST, _POLISHED = 0.6e6, 1.8e6
"""Work a particle of the last passes (for each class) and of polishing, as measured."""

_MORE_ROUNDS = 3
"""Rounds of all classes after their splits, beyond one for each class."""


def work_until(context: RunContext) -> list[float]:
    """Work of a start until each of its iterations begins, and in all.

    It is counted in rings of an image compared with one orientation of one map.
    """
    works = (_work(context, step, context.config.classes) for step in context.steps)
    return list(accumulate(works, initial=0.0))


def _work(context: RunContext, step: Step, classes: int) -> float:
    """Work of a mini-batch searched with so many maps."""
    orientations = orientations_at(context.angular_step(step.resolution), len(context.operators))
    rings = context.frame.rings_at(step.resolution)
    return classes * (step.batch * orientations * (_PRODUCTS + rings) + _FIXED)


def _split_work(context: RunContext) -> float:
    """Work of the splits of a start's classes: one for each, a map begun anew, and rounds of all.

    Four molecules in four classes took 4 to 6 splits and 5 to 7 rounds.
    """
    config, classes, particles = context.config, context.config.classes, len(context.table)
    if classes == 1:
        return 0.0
    halves = sum(_work(context, step, 2) for step in split_steps(config, particles))
    joint = joint_steps(config, classes, particles)
    every = replace(joint[-1], batch=particles)
    gathered = gather_steps(config, classes, particles)
    begun, together = (
        sum(_work(context, step, classes) for step in (*steps, every))
        for steps in (gathered, joint)
    )
    return classes * halves + begun + (classes + _MORE_ROUNDS) * together


def search_work(until: Sequence[float], rounds: Sequence[Round]) -> float:
    """Work of the iterations of all starts, from that of one (:func:`work_until`)."""
    return sum(r.contenders * (until[r.until] - until[r.since]) for r in rounds)


def stage_shares(context: RunContext) -> dict[str, float]:
    """Share of a search's time that each of its stages is expected to take, in their order.

    What is read before the poses are polished takes next to nothing.
    """
    particles, classes = len(context.table), context.config.classes
    work = {
        "reading": 0.0,
        "iteration": search_work(work_until(context), context.rounds),
        "classes split": context.rounds[-1].contenders * _split_work(context),
        "last passes": particles * classes * _LAST,
        "poses polished": particles * _POLISHED,
    }
    total = sum(work.values())
    return {stage: part / total for stage, part in work.items()}
