"""Operations of ab initio, counted before it begins."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.comm import Ranks
from vitreous.engine.folds import FOLDS
from vitreous.engine.images import Frame, finer_frame
from vitreous.engine.mini_batches import Step
from vitreous.engine.pose_refinement import REACH
from vitreous.engine.searches.local import ball_lattice
from vitreous.engine.shards import Shards
from vitreous.engine.work import (
    Work,
    local_pass,
    mean_box,
    read_on_planes,
    read_on_rings,
    ring_pass,
)
from vitreous.math.group_names import is_polyhedral
from vitreous.math.so3 import orientations_at
from vitreous.particles.particle_set import ParticleSet
from vitreous.schedules.abinit.context import held_out_count
from vitreous.schedules.abinit.schedule import (
    angular_step,
    joint_steps,
    last_angular_step,
    rounds,
    schedule,
    split_steps,
    starts_of,
)

_NEAR, _FINE_PASSES = 0.25, 2
"""Share of the fine grid that is tried near the best places, and passes made on it."""

_POLISHED, _SIGNAL = 3, 0.7
"""Passes that polish poses, and the share of the shells that they use."""

ASSUMED = (
    f"{_FINE_PASSES} passes on the fine grid",
    f"{_POLISHED} passes that polish poses",
    "the starts find the map at once, and one of them goes through the last passes",
)


@dataclass(frozen=True)
class AbinitScope:
    """What decides how much there is to do.

    Attributes
    ----------
    config : AbinitConfig
    table : ParticleSet
        Of the particles that are used.
    frame : Frame
    operators : int
        Of the point group that is imposed.
    """

    config: AbinitConfig
    table: ParticleSet
    frame: Frame
    operators: int

    def searched(self, images: int, resolution: float, maps: int) -> Work:
        """A pass over all orientations at a resolution in angstrom."""
        step = angular_step(self.config, resolution, self.frame, self.operators)
        orientations = orientations_at(step, self.operators)
        return ring_pass(images, orientations, self.frame.rings_at(resolution), maps)

    def of_one_rank(self, starts: int) -> int:
        """Starts of the rank that has most of them."""
        return len(Ranks(0, self.config.ranks).own(starts))

    def step(self, step: Step, maps: int) -> Work:
        """A mini-batch; maps that are recentred are solved twice."""
        return self.searched(step.batch, step.resolution, maps)


def _summed(parts: list[Work]) -> Work:
    return sum(parts, Work())


def _iterations(scope: AbinitScope) -> tuple[Work, int]:
    """Mini-batches of all starts and their comparisons; and how many starts are finished."""
    config, classes, particles = scope.config, scope.config.classes, len(scope.table)
    held = held_out_count(particles)
    steps = schedule(config, particles - held)
    polyhedral = is_polyhedral(config.symmetry)
    found = Work()
    plan = rounds(len(steps), starts_of(config), polyhedral=polyhedral)
    for part in plan:
        own = _summed([scope.step(step, classes) for step in steps[part.since : part.until]])
        compared = scope.searched(held, steps[part.until - 1].resolution, classes)
        found = found + (own + compared).times(scope.of_one_rank(part.contenders))
    return found, plan[-1].contenders


def _split(scope: AbinitScope) -> Work:
    """Splits of a start's classes: one for each, and rounds of all of them."""
    config, classes, particles = scope.config, scope.config.classes, len(scope.table)
    if classes == 1:
        return Work()
    halves = _summed([scope.step(step, 2) for step in split_steps(config, particles)])
    joint = joint_steps(config, classes, particles)
    every = replace(joint[-1], batch=particles)
    together = _summed([scope.step(step, classes) for step in (*joint, every)])
    return (halves + together).times(classes)


def _last_passes(scope: AbinitScope) -> Work:
    """All orientations for all particles, and the fine grid near the best of them."""
    config, classes, particles = scope.config, scope.config.classes, len(scope.table)
    step = last_angular_step(config, scope.frame, scope.operators)
    near = _NEAR * orientations_at(step, scope.operators)
    fold = ring_pass(particles / FOLDS, near, scope.frame.polar.rings, classes)
    whole = scope.searched(particles, config.ends_at, classes)
    return whole + fold.times(FOLDS * _FINE_PASSES)


def _polished(scope: AbinitScope) -> Work:
    """Poses polished with the maps of other folds; most particles are sure of their class."""
    last, particles = finer_frame(scope.frame, scope.config.ends_at), len(scope.table)
    turns, shells = len(ball_lattice(REACH)), round(_SIGNAL * last.polar.rings)
    fold = local_pass(particles / FOLDS, turns, shells, 1)
    # Maps are filtered by what the folds agree on for each fold, and what that is after each pass.
    filtered = Work(halves=(FOLDS + 1) * float(last.box**3))
    read = read_on_planes(particles, mean_box(scope.table))
    return read + (fold.times(FOLDS) + filtered).times(_POLISHED)


def stage_work(scope: AbinitScope) -> dict[str, Work]:
    """Operations of each stage of a search, in their order."""
    table, classes = scope.table, scope.config.classes
    iterations, finished = _iterations(scope)
    pairs = finished * (finished - 1) // 2
    shards = Shards.of(len(table), scope.config.ranks)
    trials = scope.searched(held_out_count(len(table)), scope.config.ends_at, classes)
    laid = Work(alignments=2 * pairs * classes**2 + (finished > 1))
    return {
        "reading": read_on_rings(len(table), mean_box(table), scope.frame).of_one_rank(shards),
        "iterations": iterations,
        "classes split": _split(scope).times(scope.of_one_rank(finished)),
        "starts compared": trials.times(finished) + laid,
        "last passes": _last_passes(scope).of_one_rank(shards),
        "poses polished": _polished(scope).of_one_rank(shards),
    }
