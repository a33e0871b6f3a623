"""Every particle looked at twice: everywhere on a coarse grid, then finely where it may be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.jobs.engine import Places, nearby
from vitreous.jobs.problem import Problem
from vitreous.jobs.schedule import last_angular_step
from vitreous.jobs.state import SearchState
from vitreous.math.so3 import OrientationGrid
from vitreous.search.posterior import Best

_REACH = 1.0
"""Coarse steps within which fine directions follow a significant coarse one: a HEALPix cell
reaches 0.88 steps from its centre."""


@dataclass(frozen=True)
class CoarseLook:
    """Where the particles may be, and the fine grid round these places.

    Attributes
    ----------
    best : Best
        What the coarse grid found.
    origins : tensor (particles, 2)
        Best shifts, working pixels.
    orientations : OrientationGrid
        Twice as fine, or as asked for.
    shifts : tensor (shifts, 2)
        To be tried round the origins, working pixels: half the step of the coarse ones.
    allowed : bool tensor (particles, maps * directions)
        Fine directions near those that hold nearly all of a particle's coarse posterior.
    """

    best: Best
    origins: Float[Tensor, "n 2"]
    orientations: OrientationGrid
    shifts: Float[Tensor, "t 2"]
    allowed: Bool[Tensor, "n kd"]

    def order(self) -> Int[Tensor, " n"]:
        """Particles sorted by their best reference: neighbours then share a tile's references."""
        return self.best.reference.argsort(stable=True)

    def places(self, index: Int[Tensor, " b"], rings: int) -> Places:
        """The fine places of some particles."""
        allowed = self.allowed[index.to(self.allowed.device)]
        return Places(self.orientations, self.shifts, rings, allowed)

    def for_any_map(self, maps: int) -> CoarseLook:
        """The same with places that any of the maps allows, allowed for all."""
        any_map = self.allowed.view(len(self.allowed), maps, -1).any(dim=1)
        parts = (self.best, self.origins, self.orientations, self.shifts)
        return CoarseLook(*parts, any_map.repeat(1, maps))


def coarse_look(problem: Problem, state: SearchState, resolution: float) -> CoarseLook:
    """Search all particles on the grid of the iterations at a resolution in angstrom."""
    config = problem.config
    coarse = problem.places(resolution)
    fine = problem.orientations(last_angular_step(config, problem.frame, len(problem.operators)))
    index = torch.arange(len(problem.table))
    best = problem.search(state, index, state.noise, coarse, accumulate=False).best
    reach = _REACH * problem.angular_step(resolution)
    return CoarseLook(
        best,
        coarse.shifts[best.shift.cpu()],
        fine,
        problem.shifts(0.75 * config.offset_step, config.offset_step / 2),
        nearby(best, coarse.orientations, fine, problem.operators, reach),
    )
