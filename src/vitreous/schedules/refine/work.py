"""Operations of a refinement, counted before it begins."""

from __future__ import annotations

from vitreous.engine.images import Frame
from vitreous.engine.searches.local import ball_lattice
from vitreous.engine.shards import Shards
from vitreous.engine.work import (
    Work,
    half_plane_samples,
    local_pass,
    mean_box,
    read_on_planes,
    read_on_rings,
    ring_pass,
)
from vitreous.math.so3 import orientations_at
from vitreous.schedules.refine.context import Begun, RunContext
from vitreous.schedules.refine.global_search import FINEST, coarse_step, shells_at
from vitreous.schedules.refine.passes import REACH
from vitreous.schedules.refine.trials import SAMPLE

_TRIED, _GLOBAL, _LOCAL, _POSED = 7, 4, 6, 6
"""Passes over a sample; over all particles everywhere, and round their places; and over a sample
round poses that the particles bring."""

_REACHED = 0.8
"""Share of the shells that passes round the particles' places use, on the average."""

_NEAR = 0.1
"""Share of the fine grid that is tried near the best places."""

ASSUMED = (
    f"{_TRIED} passes over a sample, {_GLOBAL} over all particles everywhere and {_LOCAL} round "
    "their places",
    f"{_REACHED:.0%} of the shells to Nyquist, or to --resolution-limit, on the average",
)


def _halves(frame: Frame) -> Work:
    """Maps of both halves made, compared and filtered."""
    return Work(halves=float(frame.box**3))


def _everywhere(context: RunContext, images: int) -> Work:
    """One pass that searches all orientations with both halves, coarsely and then finely."""
    most = min(shells_at(FINEST, context.widest), context.most_shells)
    frame, operators = context.frame_of(most), len(context.operators)
    step, rings = coarse_step(operators), frame.polar.rings
    orientations = orientations_at(step, operators)
    orientations += _NEAR * orientations_at(step / 2, operators)
    return ring_pass(images / 2, orientations, rings, 1).times(2) + _halves(frame)


def _round_places(context: RunContext, images: int, shells: int) -> Work:
    """One pass round the particles' places."""
    local = context.locality
    mates = 1 if local is None or local.mates is None else len(local.mates)
    turns = mates * len(ball_lattice(REACH))
    frame = context.frame_of(shells)
    return local_pass(images / 2, turns, frame.polar.rings, 1).times(2) + _halves(frame)


def _last(context: RunContext, images: int) -> Work:
    """The last pass, off the lattice if nothing holds the poses."""
    found = _round_places(context, images, context.most_shells)
    local = context.locality
    if not context.config.continuous or (local is not None and local.holds):
        return found
    return found + Work(derivatives=images * half_plane_samples(context.most_shells))


def stage_work(begun: Begun) -> dict[str, Work]:
    """Operations of each stage, in their order."""
    context = begun.context
    count, most, box = len(context.table), context.config.iterations, mean_box(context.table)
    some = min(2 * SAMPLE, count)
    everywhere, shells = _everywhere(context, count), round(_REACHED * context.most_shells)
    stages = {}
    rings = read_on_rings(count, box, context.frame(context.config.lowpass))
    if context.locality is None:
        tried = _everywhere(context, some).times(min(_TRIED, most // 2) + 1)
        if begun.poses is not None:
            posed = _round_places(context, some, shells).times(min(_POSED, most // 2))
            tried = tried + posed + _everywhere(context, some)
        stages["starts tried on a sample"] = read_on_rings(some, box, context.widest) + tried
        done = 0 if some == count else min(_GLOBAL, most)
        stages["passes everywhere"] = rings + everywhere.times(done)
    # Images are read anew whenever more shells are used.
    local = min(_LOCAL, most)
    read = read_on_planes(count, box)
    stages["passes round the particles' places"] = (
        read + _round_places(context, count, shells)
    ).times(local)
    stages["last pass"] = read + _last(context, count)
    shards = Shards.of(count, context.config.ranks)
    stages = {name: work.of_one_rank(shards) for name, work in stages.items()}
    own = float(context.grid.box**3)
    stages["maps judged"] = Work(judged=2 * own, alignments=1.0)
    return stages
