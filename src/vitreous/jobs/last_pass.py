"""The last pass of ab initio: every particle's pose, and the map from all of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.jobs.engine import (
    Places,
    nearby,
    power_beyond_noise,
    renewed_noise,
    solved,
)
from vitreous.jobs.folder import OnEvent
from vitreous.jobs.outputs import Found
from vitreous.jobs.problem import Problem
from vitreous.jobs.schedule import last_angular_step
from vitreous.jobs.state import SearchState
from vitreous.math.rotations import matrix_to_euler
from vitreous.math.so3 import OrientationGrid
from vitreous.search.posterior import Best

_REACH = 1.0
"""Coarse steps within which fine directions follow a significant coarse one: a HEALPix cell
reaches 0.88 steps from its centre."""


def last_pass(
    problem: Problem, state: SearchState, on_event: OnEvent
) -> tuple[Found, Float[Tensor, "k n n n"]]:
    """Find every particle's pose and make the maps from all of them.

    First the whole grid as in the iterations.  Then twice as finely in angle near the directions
    that hold nearly all of a particle's posterior, with shifts of half the step about its best.
    The present maps end at the final resolution, so nothing beyond it sways the poses; the new
    maps go as far as the images allow.
    """
    config, frame = problem.config, problem.frame
    step = config.offset_step
    coarse = problem.places(config.final_resolution)
    reach = _REACH * problem.angular_step(config.final_resolution)
    fine = problem.orientations(last_angular_step(config, frame, len(problem.operators)))
    fine_shifts = problem.shifts(0.75 * step, step / 2)

    index = torch.arange(len(problem.table))
    first = problem.search(state, index, state.noise, coarse, accumulate=False).best
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 1, "of": 2})
    order = first.reference.argsort(stable=True)  # neighbours share a tile's references
    origins = coarse.shifts[first.shift.cpu()]
    allowed = nearby(first, coarse.orientations, fine, problem.operators, reach)[order]
    places = Places(fine, fine_shifts, frame.polar.rings, allowed)
    sorted_index = index[order.cpu()]
    second = problem.search(state, sorted_index, state.noise, places, origins[sorted_index])
    assert second.sums is not None
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 2, "of": 2})
    prior = power_beyond_noise(second.sums, frame.box, frame.polar.rings)
    maps = solved(second.sums, prior, frame, frame.polar.rings, config.flatten)
    best = second.best.at(order.argsort())
    origins = origins + fine_shifts[best.shift.cpu()]
    noise = renewed_noise(state.noise, second, problem.images.mask_share, 1.0)
    return _found(problem, fine, best, origins, noise), maps


def _found(
    problem: Problem, grid: OrientationGrid, best: Best, origins: Tensor, noise: Tensor
) -> Found:
    directions = len(grid.directions)
    reference, psi = best.reference.cpu(), best.psi.cpu()
    matrices = grid.matrices(reference % directions, psi)
    return Found(
        angles=matrix_to_euler(matrices).numpy(),
        origins=(origins * problem.frame.pixel_size).double().numpy(),
        classes=(reference // directions).numpy() + 1,
        probability=best.probability.cpu().numpy(),
        log_evidence=best.log_evidence.cpu().numpy(),
        noise=noise.cpu().numpy(),
        frequency=(problem.frame.polar.radii() / problem.frame.field).numpy(),
    )
