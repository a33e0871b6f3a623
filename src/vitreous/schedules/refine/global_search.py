"""One pass in which every particle is searched everywhere, each half with its own map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch
from vitreous.engine.grid_pass import SamplingGrid, search_pass
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.model import Model
from vitreous.engine.pass_result import PassResult
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.math.so3 import OrientationGrid, order_for, orientation_grid, orientations_at

FINEST = 7.5
"""Angular step in degrees of the fine one of the two grids."""

_COARSEST = 15.0
"""Angular step of the coarse one without symmetry."""

_MOST = 5000
"""Orientations that the coarse one may have: symmetry makes finer ones as cheap."""


def coarse_step(operators: int) -> float:
    """Step in degrees of the grid on which everything is tried."""
    step = _COARSEST
    while orientations_at(step / 2, operators) <= _MOST and step / 2 >= FINEST:
        step /= 2
    return step


def shells_at(step: float, frame: Frame) -> int:
    """Shells that an angular step in degrees resolves at the rim of the mask."""
    return round(frame.box / (frame.mask_radius * math.radians(step)))


@dataclass(frozen=True)
class GlobalGrid:
    """All orientations and shifts, coarsely.

    Attributes
    ----------
    operators : tensor (operators, 3, 3)
        Point group.
    rings : int
        Rings used.
    reach, shift_step : float
        Of the shifts, working pixels; the second search takes half the step.
    seed : int
        Turns the grids, so that passes do not share their gaps.
    """

    operators: Float[Tensor, "s 3 3"]
    rings: int
    reach: float
    shift_step: float
    seed: int

    @property
    def step(self) -> float:
        """Angular step of the coarse grid, degrees; the second search takes half of it."""
        return coarse_step(len(self.operators))

    def orientations(self, step: float) -> OrientationGrid:
        """Orientations of a step in degrees."""
        return orientation_grid(order_for(step), self.operators, self.seed)


def searched_globally(
    model: Model, images: RingImages, frame: Frame, index: Int[Tensor, " b"], grid: GlobalGrid
) -> tuple[PassResult[PoseEstimates], PoseMatrices]:
    """Search some particles on a coarse grid, then near what holds nearly all of the posterior.

    Returns
    -------
    result : PassResult
        Of the second search, in the order of ``index``.
    posed : PoseMatrices
        Best places.
    """
    step = grid.step
    coarse, fine = grid.orientations(step), grid.orientations(step / 2)
    shifts = shift_grid(grid.reach, grid.shift_step)
    near = shift_grid(0.75 * grid.shift_step, grid.shift_step / 2)
    places = SamplingGrid(coarse, shifts, grid.rings, grid.operators)
    best = search_pass(model, images, frame, index, places, Tiling(), accumulate=False).best
    adaptive = AdaptiveSearch(
        best, coarse, fine, step / 2, shifts[best.shift.cpu()], near, grid.operators, 1
    )
    order = adaptive.order()
    places = adaptive.places(order, grid.rings)
    found = search_pass(model, images, frame, index[order], places, Tiling())
    best = found.best.at(order.argsort().to(found.best.reference.device))
    result = replace(found, best=best)
    return result, adaptive.posed(torch.arange(len(index)), result.best)
