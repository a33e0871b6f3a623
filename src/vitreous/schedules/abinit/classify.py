"""Classes that are alike told apart: passes over their particles by maps made without them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vitreous.engine.adaptive_search import Look, near_look
from vitreous.engine.folds import FoldStep, in_folds, with_maps
from vitreous.engine.sorting import (
    Sorting,
    class_prior,
    duplicates,
    pass_resolution,
    sorting_pass,
    unsorted,
)
from vitreous.engine.state import SearchState
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.problem import Problem
from vitreous.schedules.abinit.splitting import halves_of, labels_of, like_groups, split_classes

_MOST_PASSES = 8

_TRUST = 1.0
"""Factor on the maps' power as prior: less than in the search, since noise common to a class's
particles passes for a difference between classes."""

_FEWEST = 100
"""Particles that classes can be told apart by."""


@dataclass(frozen=True)
class Classified:
    """Particles sorted among maps.

    Attributes
    ----------
    state : SearchState
    labels : integer tensor (particles,)
        Likeliest class of each, from 0, duplicates counted as what they show; -1 for junk.
    """

    state: SearchState
    labels: Int[Tensor, " n"]


def classify(problem: Problem, state: SearchState, on_event: OnEvent) -> Classified:
    """Sort all particles among a state's maps; split classes, and tell those apart that are alike.

    Classes that agree to beyond the final resolution, as conformations of one molecule do, are
    begun anew from one map and share its particles out by passes over all of these.
    """
    state, look = split_classes(problem, state, on_event)
    labels = labels_of(look)
    for group in like_groups(problem, state):
        member = torch.isin(labels, torch.tensor(group))
        if member.sum() < _FEWEST:
            continue
        sorting = _told_apart(problem, look, halves_of(problem, state, group), member, on_event)
        labels[member] = torch.tensor(group)[sorting.by_map[member].argmax(dim=1)]
        state = _with_group(state, group, sorting.state)
    for number, other in duplicates(problem.frame, state, problem.config.ends_at).items():
        labels[labels == number] = other
    return Classified(state, labels)


def _with_group(state: SearchState, group: list[int], part: SearchState) -> SearchState:
    """Maps and fractions of some classes put in their places."""
    maps, fractions = state.maps.clone(), state.fractions.clone()
    maps[group] = part.maps
    fractions[group] = fractions[group].sum() * part.fractions
    return replace(state, maps=maps, fractions=fractions, noise=part.noise, scale=part.scale)


def _told_apart(
    problem: Problem,
    look: Look,
    state: SearchState,
    member: Bool[Tensor, " n"],
    on_event: OnEvent,
) -> Sorting:
    """Sort some particles among a state's maps, and make these anew, until few change class."""
    final, look = problem.config.ends_at, look.divided(len(state.maps))
    mapped = partial(with_maps, problem, partial(class_prior, _TRUST))
    step = FoldStep(partial(near_look, problem, look), mapped, problem.images.mask_share)
    folds = in_folds(look, problem.image_numbers, member)
    sorting = unsorted(state, folds, len(problem.table))
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
    return replace(sorting, state=mapped(sorting.state, total, problem.frame.rings_at(final)))
