"""Classes told apart: passes over all particles, each looked at with maps made without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.jobs.abinit.problem import Problem, iteration_seed
from vitreous.jobs.em.folds import (
    FoldStep,
    in_folds,
    with_maps,
)
from vitreous.jobs.em.looks import coarse_look, near_look
from vitreous.jobs.em.sorting import (
    alike,
    class_prior,
    pass_resolution,
    perturbed,
    sorting_pass,
    unsorted,
)
from vitreous.jobs.em.state import SearchState
from vitreous.jobs.folder import OnEvent

_MOST_PASSES = 8

_TRUST = 1.0
"""Factor on the maps' power as prior: less than in the search, since noise common to a class's
particles passes for a difference between classes."""

_STARVED = 0.3
"""Part of an even share of the particles below which a class has collapsed."""

_ALIKE = 1.5
"""Classes that agree (FSC 0.5) to this many times the final resolution are made anew from one."""


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


def collapsed(problem: Problem, state: SearchState) -> dict[int, int]:
    """Classes without particles or without features of their own, and which class to split."""
    order = state.fractions.argsort(descending=True).tolist()
    starved = [n for n in order if state.fractions[n] * len(order) < _STARVED]
    fed = [n for n in order if n not in starved]
    limit = _ALIKE * problem.config.ends_at
    return dict.fromkeys(starved, order[0]) | alike(problem.frame, state, fed, limit, 0.5)


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


def classify(problem: Problem, state: SearchState, on_event: OnEvent) -> Classified:
    """Sort all particles among a state's maps, and make the maps anew, until few change class."""
    final = problem.config.ends_at
    state, split = repaired(problem, state)
    look = coarse_look(problem, state, pass_resolution(final, 0), any_map=True)
    mapped = partial(with_maps, problem, partial(class_prior, _TRUST))
    step = FoldStep(partial(near_look, problem, look), mapped, problem.images.mask_share)
    sorting = unsorted(state, in_folds(look, problem.image_numbers), len(problem.table))
    for number in range(_MOST_PASSES):
        resolution = pass_resolution(final, number)
        sorting, _ = sorting_pass(sorting, step, problem.frame.rings_at(resolution))
        on_event(
            {
                "event": "classification",
                "stage": f"classes of start {state.start + 1}",
                "start": state.start + 1,
                "iteration": number + 1,
                "at_most": _MOST_PASSES,
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
