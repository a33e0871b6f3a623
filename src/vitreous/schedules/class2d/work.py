"""Operations of a 2D classification, counted before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from vitreous.config.classify2d import Class2dOptions
from vitreous.engine.class_pass import psi_count
from vitreous.engine.images import Frame
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.shards import Shards
from vitreous.engine.work import SHIFTS, Work, mean_box, read_on_rings, ring_products
from vitreous.particles.particle_set import ParticleSet
from vitreous.schedules.class2d.context import coarse_rings, held_out_count
from vitreous.schedules.class2d.online import batch_steps

ASSUMED = ("every round has all particles",)


@dataclass(frozen=True)
class Class2dScope:
    """What decides how much there is to do.

    Attributes
    ----------
    options : Class2dOptions
        With a resolution limit that the averages' grid holds.
    table : ParticleSet
    frame : Frame
    """

    options: Class2dOptions
    table: ParticleSet
    frame: Frame

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.options.count(len(self.table))

    def compared(self, images: float, resolution: float) -> Work:
        """Images compared with all classes coarsely, and finely with some of them.

        Few classes are left for each image by then, but they cost next to what all do.
        """
        options, rings = self.options, self.frame.rings_at(resolution)
        if not options.align:
            return ring_products(images, 1, rings, self.classes)
        coarse = min(rings, coarse_rings(options, self.frame))
        found = self._tried(images, 2, options.offset_range, coarse)
        if coarse == rings:
            return found
        return found + self._tried(images, 1, 1.5 * options.offset_step, rings)

    def _tried(self, images: float, steps: int, reach: float, rings: int) -> Work:
        """All classes at so many times the steps in angle and shift."""
        options = self.options
        shifts = len(shift_grid(reach, steps * options.offset_step))
        turns = psi_count(steps * options.angular_sampling)
        return ring_products(images, turns * shifts / SHIFTS, rings, self.classes)


def stage_work(scope: Class2dScope) -> dict[str, Work]:
    """Operations of each stage, in their order."""
    options, particles = scope.options, len(scope.table)
    seen = particles - held_out_count(particles)
    batches = Work()
    for step in batch_steps(options, scope.classes, scope.frame, seen):
        images = min(step.batch, seen)
        batches = batches + scope.compared(images, step.resolution) + Work(passes=1)
    whole = particles + held_out_count(particles)
    last = scope.compared(whole, options.resolution_limit) + Work(passes=3)
    shards = Shards.of(particles, options.ranks)
    stages = {
        "reading": read_on_rings(particles, mean_box(scope.table), scope.frame),
        "mini-batches": batches,
        "last pass": last,
    }
    shared = {name: work.of_one_rank(shards) for name, work in stages.items()}
    return {name: work.times(options.rounds) for name, work in shared.items()}
