"""Every particle looked at again and again: everywhere on a coarse grid, then finely nearby."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.jobs.abinit.problem import Problem
from vitreous.jobs.abinit.schedule import last_angular_step
from vitreous.jobs.abinit.state import SearchState
from vitreous.jobs.engine import GATHERED, Places, nearby
from vitreous.math.so3 import OrientationGrid
from vitreous.search.posterior import Best

_REACH = 1.0
"""Coarse steps within which fine directions follow a significant coarse one: a HEALPix cell
reaches 0.88 steps from its centre."""


@dataclass(frozen=True)
class Look:
    """What a grid found of all particles, and the finer places that are worth trying.

    Attributes
    ----------
    best : Best
    coarse, fine : OrientationGrid
        The grid that was searched, and the next.
    step : float
        Angular step of the fine one, degrees.
    origins : tensor (particles, 2)
        Best shifts, working pixels.
    shifts : tensor (shifts, 2)
        To be tried round the origins.
    operators : tensor (operators, 3, 3)
    maps : int
        Maps that places are for.
    """

    best: Best
    coarse: OrientationGrid
    fine: OrientationGrid
    step: float
    origins: Float[Tensor, "n 2"]
    shifts: Float[Tensor, "t 2"]
    operators: Float[Tensor, "s 3 3"]
    maps: int
    any_map: bool = False

    def order(self) -> Int[Tensor, " n"]:
        """Particles sorted by their best reference: neighbours then share a tile's references."""
        return self.best.reference.argsort(stable=True).cpu()

    def places(self, index: Int[Tensor, " b"], rings: int) -> Places:
        """Fine directions near those that hold nearly all of these particles' posterior.

        With ``any_map``, what one map allows is tried with all of them.
        """
        parts = []
        for some in index.to(self.best.reference.device).split(GATHERED):
            reach = 2 * self.step * _REACH
            near = nearby(self.best.at(some), self.coarse, self.fine, self.operators, reach)
            if self.any_map:
                joint = near.view(len(some), self.maps, -1).any(dim=1)
                near = joint.repeat(1, self.maps)
            parts.append(near)
        return Places(self.fine, self.shifts, rings, torch.cat(parts))


def coarse_look(
    problem: Problem, state: SearchState, resolution: float, *, any_map: bool = False
) -> Look:
    """Search all particles on the grid of the iterations at a resolution in angstrom."""
    config, grid = problem.config, problem.places(resolution)
    step = last_angular_step(config, problem.frame, len(problem.operators))
    index = torch.arange(len(problem.table))
    best = problem.search(state, index, state.noise, grid, accumulate=False).best
    return Look(
        best,
        grid.orientations,
        problem.orientations(step),
        step,
        grid.shifts[best.shift.cpu()],
        problem.shifts(0.75 * config.offset_step, config.offset_step / 2),
        problem.operators,
        len(state.maps),
        any_map,
    )
