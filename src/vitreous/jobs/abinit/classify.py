"""Classes told apart: passes over all particles, each looked at with maps made without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.jobs.abinit.folds import (
    AnyBest,
    Folds,
    FoldStep,
    folds_pass,
    in_folds,
    with_maps,
)
from vitreous.jobs.abinit.looks import coarse_look, near_look
from vitreous.jobs.abinit.problem import Problem, iteration_seed
from vitreous.jobs.abinit.state import SearchState
from vitreous.jobs.engine import prior_power
from vitreous.jobs.folder import OnEvent
from vitreous.jobs.images import Frame
from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.physics.masks import soft_sphere
from vitreous.reconstruct.insert import Accumulator
from vitreous.validate.reproducibility import agreement

_MOST_PASSES = 8

_SETTLED = 0.01
"""Share of the particles that change class in a pass, below which the classes have settled."""

_BEGINS = 5 / 3
"""Resolution of the first pass over the final one."""

MARCH = 4
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
    frame: Frame, state: SearchState, numbers: list[int], limit: float, threshold: float
) -> dict[int, int]:
    """Of these classes, those whose maps agree with an earlier one of the list, and which."""
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
    return dict.fromkeys(starved, order[0]) | _alike(problem.frame, state, fed, limit, 0.5)


def duplicates(frame: Frame, state: SearchState, resolution: float) -> set[int]:
    """Classes whose maps tell nothing down to a resolution that a more populated one does not."""
    order = state.fractions.argsort(descending=True).tolist()
    return set(_alike(frame, state, order, resolution, _SAME))


def perturbed(volume: Float[Tensor, "n n n"], rings: int, seed: int) -> Float[Tensor, "n n n"]:
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
        maps[number] = perturbed(state.maps[split.get(number, number)], state.rings, seed)
    fractions = torch.full_like(state.fractions, 1 / len(maps))
    return replace(state, maps=maps, fractions=fractions), sorted(split)


@dataclass(frozen=True)
class Sorting:
    """Where the sorting of all particles stands.

    Attributes
    ----------
    state : SearchState
    folds : Folds
    by_map : tensor (particles, maps)
        Posterior of each class, by maps made without the particle.
    log_evidence : tensor (particles,)
        Likewise.
    changed : list of float
        Share of the particles that changed class in each pass.
    """

    state: SearchState
    folds: Folds
    by_map: Float[Tensor, "n k"]
    log_evidence: Float[Tensor, " n"]
    changed: list[float]

    @property
    def evidence(self) -> float:
        """Mean log-evidence of the particles in folds."""
        return float(self.log_evidence[torch.cat(self.folds.index)].mean())

    @property
    def settled(self) -> bool:
        """Whether hardly any particle changes class any more, at the final resolution."""
        return len(self.changed) > MARCH and self.changed[-1] < _SETTLED


def unsorted(state: SearchState, folds: Folds, particles: int) -> Sorting:
    """Sorting before its first pass."""
    by_map = torch.zeros(particles, len(state.maps))
    return Sorting(state, folds, by_map, torch.zeros(particles), [])


def pass_resolution(final: float, number: int) -> float:
    """Of a pass in angstrom: frequency rises evenly."""
    done = min(number / MARCH, 1.0)
    return final / ((1 - done) / _BEGINS + done)


def sorting_pass(
    sorting: Sorting, step: FoldStep[AnyBest], rings: int
) -> tuple[Sorting, list[AnyBest]]:
    """Search all folds once more; also returns what was found of each fold's particles."""
    state, folds, found = folds_pass(sorting.state, sorting.folds, step, rings)
    index = torch.cat(folds.index)
    by_map, log_evidence = sorting.by_map.clone(), sorting.log_evidence.clone()
    by_map[index] = torch.cat([best.map_probability for best in found]).cpu()
    log_evidence[index] = torch.cat([best.log_evidence for best in found]).cpu()
    changed = (by_map.argmax(dim=1) != sorting.by_map.argmax(dim=1)).float().mean()
    after = Sorting(state, folds, by_map, log_evidence, [*sorting.changed, float(changed)])
    return after, found


def class_prior(
    trust: float, state: SearchState, sums: Accumulator, rings: int
) -> Float[Tensor, "k s"]:
    """Prior power for class maps: ``trust`` times the power of the present ones."""
    return prior_power(state.maps, sums, rings, min(state.rings, rings), trust)


def classify(problem: Problem, state: SearchState, on_event: OnEvent) -> Classified:
    """Sort all particles among a state's maps, and make the maps anew, until few change class."""
    final = problem.config.final_resolution
    state, split = repaired(problem, state)
    look = coarse_look(problem, state, pass_resolution(final, 0), any_map=True)
    mapped = partial(with_maps, problem, partial(class_prior, _TRUST))
    step = FoldStep(partial(near_look, problem, look), mapped, problem.images.mask_share)
    sorting = unsorted(state, in_folds(look), len(problem.table))
    for number in range(_MOST_PASSES):
        resolution = pass_resolution(final, number)
        sorting, _ = sorting_pass(sorting, step, problem.frame.rings_at(resolution))
        on_event(
            {
                "event": "classification",
                "stage": f"classes of start {state.start + 1}",
                "start": state.start + 1,
                "iteration": number + 1,
                "of": _MOST_PASSES,
                "resolution": round(resolution, 2),
                "changed": sorting.changed[-1],
                "class_fractions": sorting.state.fractions.tolist(),
                "log_likelihood": sorting.evidence,
            }
        )
        if sorting.settled:
            break
    total = sorting.folds.without()
    assert total is not None
    state = mapped(sorting.state, total, problem.frame.rings_at(final))
    return Classified(state, sorting.by_map, sorting.evidence, split, sorting.changed)
