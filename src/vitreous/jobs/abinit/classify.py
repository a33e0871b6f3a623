"""Classes told apart: passes over all particles, each looked at with maps made without it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.jobs.abinit.folds import folds_pass, in_folds, with_maps
from vitreous.jobs.abinit.looks import coarse_look
from vitreous.jobs.abinit.problem import Problem, iteration_seed
from vitreous.jobs.abinit.state import SearchState
from vitreous.jobs.engine import prior_power
from vitreous.jobs.folder import OnEvent
from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.physics.masks import soft_sphere
from vitreous.reconstruct.insert import Accumulator
from vitreous.validate.reproducibility import agreement

_MOST_PASSES = 8

_SETTLED = 0.01
"""Share of the particles that change class in a pass, below which the classes have settled."""

_BEGINS = 5 / 3
"""Resolution of the first pass over the final one."""

_MARCH = 4
"""Passes over which the resolution rises."""

_TRUST = 1.0
"""Factor on the maps' power as prior: less than in the search, since noise common to a class's
particles passes for a difference between classes."""

_STARVED = 0.3
"""Part of an even share of the particles below which a class has collapsed."""

_ALIKE = 1.5
"""Classes that agree (FSC 0.5) to this many times the final resolution are made anew from one."""

_SAME = 0.8
"""FSC above which, down to the final resolution, two classes show the same."""

_SPLIT = 0.1
"""Norm of the random density that splits a map, over the map's own."""


@dataclass(frozen=True)
class Classified:
    """Particles sorted among maps.

    Attributes
    ----------
    state : SearchState
    by_map : tensor (particles, maps)
        Posterior of each class, by maps made without the particle.
    evidence : float
        Mean log-evidence, likewise.
    repaired : list of int
        Classes (from 0) that had collapsed and were made anew by splitting another.
    changed : list of float
        Share of the particles that changed class in each pass.
    """

    state: SearchState
    by_map: Float[Tensor, "n k"]
    evidence: float
    repaired: list[int]
    changed: list[float]


def _alike(
    problem: Problem, state: SearchState, numbers: list[int], limit: float, threshold: float
) -> dict[int, int]:
    """Of these classes, those whose maps agree with an earlier one of the list, and which."""
    frame = problem.frame
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    maps = state.maps.cpu()
    kept: list[int] = []
    found: dict[int, int] = {}
    for number in numbers:
        agreements = (
            agreement(maps[number], maps[other], mask, frame.pixel_size, threshold=threshold)
            for other in kept
        )
        like = [o for o, a in zip(kept, agreements, strict=True) if a.resolution <= limit]
        if like:
            found[number] = like[0]
        else:
            kept.append(number)
    return found


def collapsed(problem: Problem, state: SearchState) -> dict[int, int]:
    """Classes without particles or without features of their own, and which class to split."""
    order = state.fractions.argsort(descending=True).tolist()
    starved = [n for n in order if state.fractions[n] * len(order) < _STARVED]
    fed = [n for n in order if n not in starved]
    limit = _ALIKE * problem.config.final_resolution
    return dict.fromkeys(starved, order[0]) | _alike(problem, state, fed, limit, 0.5)


def duplicates(problem: Problem, state: SearchState) -> set[int]:
    """Classes whose maps tell nothing that a more populated one does not."""
    order = state.fractions.argsort(descending=True).tolist()
    return set(_alike(problem, state, order, problem.config.final_resolution, _SAME))


def _perturbed(volume: Float[Tensor, "n n n"], rings: int, seed: int) -> Float[Tensor, "n n n"]:
    """A map with a little random density where it has some."""
    noise = np.random.default_rng(seed).normal(size=volume.shape)
    spectrum = to_fourier(torch.from_numpy(noise).to(volume), 3)
    radius = frequency_radius(volume.shape[-1], 3, volume.device)
    smooth = to_real(spectrum * (radius <= rings), 3) * volume.clamp(min=0)
    scale = _SPLIT * volume.norm() / smooth.norm().clamp(min=1e-20)
    return (volume + scale * smooth).clamp(min=0)


def repaired(problem: Problem, state: SearchState) -> tuple[SearchState, list[int]]:
    """Collapsed classes replaced by halves of others, all of these a little different."""
    split = collapsed(problem, state)
    if not split:
        return state, []
    maps = state.maps.clone()
    for number in sorted({*split, *split.values()}):
        seed = iteration_seed(problem.config, state.start, len(problem.steps) + 1 + number)
        maps[number] = _perturbed(state.maps[split.get(number, number)], state.rings, seed)
    fractions = torch.full_like(state.fractions, 1 / len(maps))
    return replace(state, maps=maps, fractions=fractions), sorted(split)


def _resolution(final: float, number: int) -> float:
    """Of a pass in angstrom: frequency rises evenly."""
    done = min(number / _MARCH, 1.0)
    return final / ((1 - done) / _BEGINS + done)


def _prior(state: SearchState, sums: Accumulator, rings: int) -> Float[Tensor, "k s"]:
    return prior_power(state.maps, sums, rings, min(state.rings, rings), _TRUST)


def classify(problem: Problem, state: SearchState, on_event: OnEvent) -> Classified:
    """Sort all particles among a state's maps, and make the maps anew, until few change class."""
    final, classes = problem.config.final_resolution, len(state.maps)
    state, split = repaired(problem, state)
    look = coarse_look(problem, state, _resolution(final, 0), any_map=True)
    folds = in_folds(look)
    index = torch.cat(folds.index)
    by_map = torch.zeros(len(problem.table), classes)
    changed: list[float] = []
    for number in range(_MOST_PASSES):
        rings = problem.frame.rings_at(_resolution(final, number))
        state, folds, best = folds_pass(problem, state, look, folds, rings, _prior)
        before, evidence = by_map.argmax(dim=1), float(best.log_evidence.mean())
        by_map[index] = best.map_probability.cpu()
        changed.append(float((by_map.argmax(dim=1) != before).float().mean()))
        on_event(
            {
                "event": "classification",
                "stage": f"classes of start {state.start + 1}",
                "start": state.start + 1,
                "iteration": number + 1,
                "of": _MOST_PASSES,
                "resolution": round(_resolution(final, number), 2),
                "changed": changed[-1],
                "class_fractions": state.fractions.tolist(),
                "log_likelihood": evidence,
            }
        )
        if number >= _MARCH and changed[-1] < _SETTLED:
            break
    total = folds.without()
    assert total is not None
    state = with_maps(problem, state, total, problem.frame.rings_at(final), _prior)
    return Classified(state, by_map, evidence, split, changed)
