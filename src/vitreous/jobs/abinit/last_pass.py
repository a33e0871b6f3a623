"""The end of ab initio: every particle's pose, ever more finely, and the maps from all of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitreous.jobs.abinit.folds import folds_pass, in_folds, with_maps
from vitreous.jobs.abinit.junk import noise_probability
from vitreous.jobs.abinit.looks import Look, coarse_look, finer_look
from vitreous.jobs.abinit.outputs import Found
from vitreous.jobs.abinit.problem import Problem
from vitreous.jobs.abinit.state import SearchState
from vitreous.jobs.engine import power_beyond_noise
from vitreous.jobs.folder import OnEvent
from vitreous.math.rotations import matrix_to_euler
from vitreous.reconstruct.insert import Accumulator
from vitreous.search.posterior import Best, joined

_FINEST = 3.75
"""Smallest angular step in degrees without symmetry."""

_MOSTLY = 0.5
"""Share of noise among the images above which only the first of the steps is made."""

_LEVEL = 0.04
"""Relative rise of the mean log-evidence below which passes at one step are enough."""


def last_pass(
    problem: Problem, state: SearchState, on_event: OnEvent
) -> tuple[Found, Float[Tensor, "k n n n"]]:
    """Find every particle's pose and make the maps from those that are no noise.

    First the whole grid as in the iterations.  Then, near the directions that hold nearly all of a
    particle's posterior, twice as finely in angle and shift, and so on as far as the rings need
    it.  Each fold's maps go as far as the other folds allow, so the resolution rises by itself.
    """
    rings = problem.frame.polar.rings
    look = coarse_look(problem, state, problem.config.final_resolution)
    noisy = noise_probability(look.best.log_evidence.cpu())
    steps = _angular_steps(problem, look)
    if (noisy > 0.5).double().mean() > _MOSTLY:
        steps = steps[:1]  # noise may be anywhere: a fine grid would be searched in full
    of = len(steps) * problem.config.polish_passes + 1
    on_event({"event": "final_pass", "stage": "last passes", "iteration": 1, "of": of})
    for level, _ in enumerate(steps):
        if level:
            look = finer_look(problem, state, look, rings)
        state, best, noisy = _level(problem, state, look, noisy, level, of, on_event)
    return _found(problem, state, look, best, noisy), state.maps


def _angular_steps(problem: Problem, look: Look) -> list[float]:
    """Angular steps, each half the one before, to what the rings need at the particle's rim."""
    frame = problem.frame
    needed = math.degrees(frame.box / frame.polar.rings / frame.mask_radius)
    finest = min(_FINEST, look.step)
    steps = [look.step]
    while not problem.config.angular_sampling and steps[-1] > needed and steps[-1] / 2 >= finest:
        steps.append(steps[-1] / 2)
    return steps


def _prior(state: SearchState, sums: Accumulator, rings: int) -> Float[Tensor, "k s"]:
    return power_beyond_noise(sums, state.maps.shape[-1], rings)


def _level(
    problem: Problem,
    state: SearchState,
    look: Look,
    noisy: Float[Tensor, " n"],
    level: int,
    of: int,
    on_event: OnEvent,
) -> tuple[SearchState, Best, Float[Tensor, " n"]]:
    """Passes at one angular step, until the evidence hardly rises.

    Should all images look like noise, all are used: the verdict says what to think of the map.
    """
    rings, most = problem.frame.polar.rings, problem.config.polish_passes
    keep = noisy <= 0.5
    keep = keep | (not bool(keep.any()))
    folds = in_folds(look, keep)
    before = -math.inf
    for number in range(most):
        state, folds, best = folds_pass(problem, state, look, folds, rings, _prior)
        evidence = float(best.log_evidence.mean())
        done = level * most + number + 2
        on_event({"event": "final_pass", "stage": "last passes", "iteration": done, "of": of,
                  "angular_sampling": look.step, "log_likelihood": evidence})  # fmt: skip
        if evidence - before < _LEVEL * abs(evidence):
            break
        before = evidence
    total = folds.without()
    assert total is not None
    state = with_maps(problem, state, total, rings, _prior)
    best = _all_in_order(problem, state, look, torch.cat(folds.index), best, keep)
    return state, best, noise_probability(best.log_evidence.cpu())


def _all_in_order(
    problem: Problem,
    state: SearchState,
    look: Look,
    index: Tensor,
    best: Best,
    keep: Bool[Tensor, " n"],
) -> Best:
    """What was found of the kept particles and, searched once, of the others, in stack order."""
    left = look.order()
    left = left[~keep[left]]
    if len(left):
        places = look.places(left, problem.frame.polar.rings)
        other = problem.search(
            state, left, state.noise, places, look.origins[left], accumulate=False
        ).best
        best, index = joined([best, other]), torch.cat([index, left])
    return best.at(index.argsort().to(best.reference.device))


def _found(
    problem: Problem, state: SearchState, look: Look, best: Best, noisy: Float[Tensor, " n"]
) -> Found:
    directions = len(look.fine.directions)
    reference, psi = best.reference.cpu(), best.psi.cpu()
    origins = (look.origins + look.shifts[best.shift.cpu()]) * problem.frame.pixel_size
    return Found(
        angles=matrix_to_euler(look.fine.matrices(reference % directions, psi)).numpy(),
        origins=origins.double().numpy(),
        by_map=best.map_probability.cpu().numpy(),
        noise_probability=noisy.numpy(),
        probability=best.probability.cpu().numpy(),
        log_evidence=best.log_evidence.cpu().numpy(),
        noise=state.noise.cpu().numpy(),
        frequency=(problem.frame.polar.radii() / problem.frame.field).numpy(),
    )
