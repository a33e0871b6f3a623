"""One pass in which every particle is searched everywhere, each half with its own map."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.pass_ import PassResult, SamplingGrid, search_pass
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.math.so3 import order_for, orientation_grid, orientations_at

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


def searched_globally(
    reference: Float[Tensor, "n n n"],
    images: RingImages,
    frame: Frame,
    index: Int[Tensor, " b"],
    noise: Float[Tensor, "g rings"],
    operators: Float[Tensor, "s 3 3"],
    rings: int,
    reach: float,
    shift_step: float,
    seed: int,
) -> tuple[PassResult, PoseMatrices]:
    """Search some particles on a coarse grid, then near what holds nearly all of the posterior.

    Parameters
    ----------
    rings : int
        Rings used.
    reach, shift_step : float
        Of the shifts, working pixels; the second search takes half the step.
    seed : int
        Turns the grids, so that passes do not share their gaps.

    Returns
    -------
    result : PassResult
        Of the second search, in the order of ``index``.
    posed : PoseMatrices
        Best places.
    """
    step = coarse_step(len(operators))
    coarse, fine = (orientation_grid(order_for(s), operators, seed) for s in (step, step / 2))
    shifts, maps = shift_grid(reach, shift_step), reference[None]
    none, alone = torch.zeros(len(index), 2), torch.ones(1, device=reference.device)

    def search(
        part: Tensor, origins: Tensor, places: SamplingGrid, *, accumulate: bool
    ) -> PassResult:
        return search_pass(
            maps, images, frame, part, origins, noise, places, operators, alone, Tiling(),
            accumulate=accumulate,
        )  # fmt: skip

    best = search(index, none, SamplingGrid(coarse, shifts, rings), accumulate=False).best
    near = shift_grid(0.75 * shift_step, shift_step / 2)
    adaptive = AdaptiveSearch(
        best, coarse, fine, step / 2, shifts[best.shift.cpu()], near, operators, 1
    )
    order = adaptive.order()
    found = search(
        index[order], adaptive.origins[order], adaptive.places(order, rings), accumulate=True
    )
    best = found.best.at(order.argsort().to(found.best.reference.device))
    result = replace(found, best=best)
    return result, adaptive.posed(torch.arange(len(index)), result.best)
