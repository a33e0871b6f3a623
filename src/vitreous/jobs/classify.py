"""Classes told apart: passes over all particles, each looked at with maps made without it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.jobs.engine import PassResult, prior_power, renewed_noise, solved
from vitreous.jobs.folder import OnEvent
from vitreous.jobs.looks import CoarseLook, coarse_look
from vitreous.jobs.problem import Problem, iteration_seed
from vitreous.jobs.state import SearchState
from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.physics.masks import soft_sphere
from vitreous.reconstruct.insert import Accumulator
from vitreous.validate.reproducibility import agreement

_FOLDS = 4
"""Parts of the particles: each is searched with the maps of the others, or a class would be
preferred by the noise of its own particles."""

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

_NOISE_RATE = 0.3
"""Share of the noise spectrum renewed by each fold."""

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


def _total(parts: list[Accumulator | None]) -> Accumulator | None:
    """Sums of some folds, once all of them have been searched."""
    total: Accumulator | None = None
    for part in parts:
        if part is None:
            return None
        total = part if total is None else total.plus(part)
    return total


def _resolution(final: float, number: int) -> float:
    """Of a pass in angstrom: frequency rises evenly."""
    done = min(number / _MARCH, 1.0)
    return final / ((1 - done) / _BEGINS + done)


def _fold(
    problem: Problem,
    state: SearchState,
    look: CoarseLook,
    index: Int[Tensor, " b"],
    sums: Accumulator | None,
    rings: int,
) -> tuple[SearchState, PassResult]:
    """Search a fold's particles with the maps of the others, where these are known."""
    frame = problem.frame
    if sums is not None:
        prior = prior_power(state.maps, sums, rings, min(state.rings, rings), _TRUST)
        maps = solved(sums, prior, frame, rings, problem.config.flatten)
        state = replace(state, maps=maps, rings=rings)
    places = look.places(index, rings)
    result = problem.search(state, index, state.noise, places, look.origins[index])
    noise = renewed_noise(state.noise, result, problem.images.mask_share, _NOISE_RATE)
    return replace(state, noise=noise), result


def classify(problem: Problem, state: SearchState, on_event: OnEvent) -> Classified:
    """Sort all particles among a state's maps, and make the maps anew, until few change class.

    Incremental EM (Neal & Hinton, Learning in Graphical Models, 355 (1998)) over four folds; a
    particle's own share is left out of the maps that it is compared with.
    """
    final, classes = problem.config.final_resolution, len(state.maps)
    state, split = repaired(problem, state)
    look = coarse_look(problem, state, _resolution(final, 0)).for_any_map(classes)
    folds = [look.order().cpu()[number::_FOLDS] for number in range(_FOLDS)]
    sums: list[Accumulator | None] = [None] * _FOLDS
    by_map = torch.zeros(len(problem.table), classes)
    evidence = torch.zeros(len(problem.table))
    changed: list[float] = []
    for number in range(_MOST_PASSES):
        rings = problem.frame.rings_at(_resolution(final, number))
        before = by_map.argmax(dim=1)
        for fold, index in enumerate(folds):
            state, result = _fold(
                problem, state, look, index, _total(sums[:fold] + sums[fold + 1 :]), rings
            )
            sums[fold] = result.sums
            by_map[index] = result.best.map_probability.cpu()
            evidence[index] = result.best.log_evidence.cpu()
            share = result.best.map_probability.mean(dim=0)
            state = replace(state, fractions=state.fractions + (share - state.fractions) / _FOLDS)
        changed.append(float((by_map.argmax(dim=1) != before).float().mean()))
        on_event(
            {
                "event": "classification",
                "stage": "sorting into classes",
                "start": state.start + 1,
                "iteration": number + 1,
                "of": _MOST_PASSES,
                "resolution": round(_resolution(final, number), 2),
                "changed": changed[-1],
                "class_fractions": state.fractions.tolist(),
                "log_likelihood": float(evidence.mean()),
            }
        )
        if number >= _MARCH and changed[-1] < _SETTLED:
            break
    total = _total(sums)
    assert total is not None
    rings = problem.frame.rings_at(final)
    prior = prior_power(state.maps, total, rings, state.rings, _TRUST)
    state = replace(
        state, maps=solved(total, prior, problem.frame, rings, problem.config.flatten), rings=rings
    )
    return Classified(state, by_map, float(evidence.mean()), split, changed)
