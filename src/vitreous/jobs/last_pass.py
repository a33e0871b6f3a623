"""The last pass of ab initio: every particle's pose, and the map from all of them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitreous.jobs.engine import PassResult, power_beyond_noise, renewed_noise, solved
from vitreous.jobs.folder import OnEvent
from vitreous.jobs.junk import noise_probability
from vitreous.jobs.looks import CoarseLook, coarse_look
from vitreous.jobs.outputs import Found
from vitreous.jobs.problem import Problem
from vitreous.jobs.state import SearchState
from vitreous.math.rotations import matrix_to_euler
from vitreous.search.posterior import Best, joined


def last_pass(
    problem: Problem, state: SearchState, on_event: OnEvent
) -> tuple[Found, Float[Tensor, "k n n n"]]:
    """Find every particle's pose and make the maps from those that are no noise.

    First the whole grid as in the iterations.  Then twice as finely in angle near the directions
    that hold nearly all of a particle's posterior, with shifts of half the step about its best.
    The present maps end at the final resolution, so nothing beyond it sways the poses; the new
    maps go as far as the images allow.
    """
    config, frame = problem.config, problem.frame
    look = coarse_look(problem, state, config.final_resolution)
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 1, "of": 2})
    noisy = noise_probability(look.best.log_evidence.cpu())
    best, kept = _fine_look(problem, state, look, noisy > 0.5)
    assert kept.sums is not None
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 2, "of": 2})
    prior = power_beyond_noise(kept.sums, frame.box, frame.polar.rings)
    maps = solved(kept.sums, prior, frame, frame.polar.rings, config.flatten)
    noise = renewed_noise(state.noise, kept, problem.images.mask_share, 1.0)
    return _found(problem, look, best, noisy, noise), maps


def _fine_look(
    problem: Problem, state: SearchState, look: CoarseLook, noisy: Bool[Tensor, " n"]
) -> tuple[Best, PassResult]:
    """All particles' fine poses, and what those that are no noise give the maps.

    Should all look like noise, all are used: the verdict says what to think of the map.
    """
    order, rings = look.order().cpu(), problem.frame.polar.rings
    noisy = noisy & (not bool(noisy.all()))
    parts = [order[~noisy[order]], order[noisy[order]]]
    results = [
        problem.search(
            state, part, state.noise, look.places(part, rings), look.origins[part], accumulate=keep
        )
        for part, keep in zip(parts, (True, False), strict=True)
        if len(part)
    ]
    best = joined([result.best for result in results])
    return best.at(torch.cat(parts).argsort()), results[0]


def _found(problem: Problem, look: CoarseLook, best: Best, noisy: Tensor, noise: Tensor) -> Found:
    directions = len(look.orientations.directions)
    reference, psi = best.reference.cpu(), best.psi.cpu()
    origins = (look.origins + look.shifts[best.shift.cpu()]) * problem.frame.pixel_size
    return Found(
        angles=matrix_to_euler(look.orientations.matrices(reference % directions, psi)).numpy(),
        origins=origins.double().numpy(),
        by_map=best.map_probability.cpu().numpy(),
        noise_probability=noisy.numpy(),
        probability=best.probability.cpu().numpy(),
        log_evidence=best.log_evidence.cpu().numpy(),
        noise=noise.cpu().numpy(),
        frequency=(problem.frame.polar.radii() / problem.frame.field).numpy(),
    )
