"""Operations of a 3D classification, counted before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vitreous.config.classify import Classify3dOptions
from vitreous.engine.folds import FOLDS
from vitreous.engine.images import Frame
from vitreous.engine.shards import Shards
from vitreous.engine.sorting import MARCH
from vitreous.engine.work import (
    Work,
    local_pass,
    mean_box,
    read_on_planes,
    read_on_rings,
    ring_pass,
)
from vitreous.math.so3 import orientations_at
from vitreous.particles.particle_set import ParticleSet
from vitreous.schedules.class3d.begin import march
from vitreous.schedules.class3d.pose_search import near_given

_NEAR = 0.4
"""Share of the fine grid that a tile of particles tries near the best places of all of them."""

_MORE = 8
"""Passes at the resolution limit until few particles change class."""

ASSUMED = (f"{MARCH + _MORE} passes until few particles change class",)


@dataclass(frozen=True)
class ClassScope:
    """What decides how much there is to do.

    Attributes
    ----------
    options : Classify3dOptions
    table : ParticleSet
    frame : Frame
    references : int
    operators : tensor (operators, 3, 3)
        The point group.
    """

    options: Classify3dOptions
    table: ParticleSet
    frame: Frame
    references: int
    operators: Float[Tensor, "s 3 3"]

    @property
    def classes(self) -> int:
        """Maps that are made."""
        return self.options.count(self.references)

    @property
    def passes(self) -> int:
        """Passes over all particles."""
        return min(MARCH + max(_MORE, self.options.final_passes), self.options.iterations)


def _all_folds(scope: ClassScope, fold: Work) -> Work:
    """A pass over all particles, by what one over a fold takes."""
    return fold.times(FOLDS * (2 if scope.options.hard else 1))


def _by_grid(scope: ClassScope) -> dict[str, Work]:
    options, particles, rings = scope.options, len(scope.table), scope.frame.polar.rings
    step, maps = options.angular_sampling, scope.references
    coarse = orientations_at(2 * step, len(scope.operators))
    brought = Work()
    for one in march(options, particles, maps).steps:
        brought = brought + ring_pass(one.batch, coarse, scope.frame.rings_at(one.resolution), maps)
    near = _NEAR * orientations_at(step, len(scope.operators))

    def one_pass(rings: int) -> Work:
        return _all_folds(scope, ring_pass(particles / FOLDS, near, rings, scope.classes))

    return {
        "reading": read_on_rings(particles, mean_box(scope.table), scope.frame),
        "references improved": brought,
        "all orientations": ring_pass(particles, coarse, rings, maps),
        "classes": one_pass(scope.frame.rings_at(options.resolution_limit)).times(scope.passes),
        "last pass": one_pass(rings),
    }


def _by_poses(scope: ClassScope) -> dict[str, Work]:
    options, particles, frame = scope.options, len(scope.table), scope.frame
    turns = near_given(options, scope.operators, frame).orientations
    fold = local_pass(particles / FOLDS, turns, frame.polar.rings, scope.classes)
    one_pass = _all_folds(scope, fold)
    return {
        "reading": read_on_planes(particles, mean_box(scope.table)),
        "classes": one_pass.times(scope.passes),
        "last pass": one_pass,
    }


def stage_work(scope: ClassScope) -> dict[str, Work]:
    """Operations of each stage, in their order."""
    stages = _by_poses(scope) if scope.options.placed else _by_grid(scope)
    laid = 0 if scope.references == 1 or len(scope.operators) > 1 else scope.classes - 1
    box = float(scope.frame.box**3)
    judged = Work(judged=scope.classes * box, alignments=float(laid))
    shards = Shards.of(len(scope.table), scope.options.ranks)
    shared = {name: work.of_one_rank(shards) for name, work in stages.items()}
    return {**shared, "maps judged": judged}
