"""Classes that are alike told apart: passes over their particles by maps made without them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch, fine_search
from vitreous.engine.folds import FoldStep, in_folds, with_maps
from vitreous.engine.junk import noise_probability
from vitreous.engine.searches.posterior import PoseEstimates
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
from vitreous.schedules.abinit.context import RunContext
from vitreous.schedules.abinit.splitting import (
    fed_and_starved,
    halves_of,
    labels_of,
    like_groups,
    split_classes,
)

_MOST_PASSES, _SURE = 8, 3
"""Passes over the particles, and after how many one class may be left alone."""

_TAU2_FUDGE = 1.0
"""Factor on the maps' power as prior: less than in the search, since noise common to a class's
particles passes for a difference between classes."""

_CERTAIN = 0.9
"""Posterior of a particle's likeliest class from which it is a witness of how starts sort."""

_FEWEST = 100
"""Particles that classes can be told apart by."""


@dataclass(frozen=True)
class Classified:
    """Particles sorted among maps.

    Attributes
    ----------
    state : SearchState
        Whose duplicates hold nothing: what they show has their particles.
    labels : integer tensor (particles,)
        Likeliest class of each, from 0; -1 for junk.
    certain : bool tensor (particles,)
        Whether the likeliest class has nearly all of the posterior.
    alike : dict
        Duplicates, from 0, and the class that shows what each shows.
    """

    state: SearchState
    labels: Int[Tensor, " n"]
    certain: Bool[Tensor, " n"]
    alike: dict[int, int]

    def to(self, device: torch.device) -> Classified:
        """The same with the state on another device."""
        return replace(self, state=self.state.to(device))


def classify(context: RunContext, state: SearchState, on_event: OnEvent) -> Classified:
    """Sort all particles among a state's maps; split classes, and tell those apart that are alike.

    Classes that agree to beyond the final resolution, as conformations of one molecule do, are
    begun anew from one map and share its particles out by passes over all of these.
    """
    state, adaptive = split_classes(context, state, on_event)
    labels, posterior = labels_of(adaptive), adaptive.best.map_probability.cpu().clone()
    for group in like_groups(context, state):
        member = torch.isin(labels, torch.tensor(group))
        if member.sum() < _FEWEST:
            continue
        sorting = _separated(context, adaptive, halves_of(context, state, group), member, on_event)
        labels[member] = torch.tensor(group)[sorting.by_map[member].argmax(dim=1)]
        posterior[:, group] = posterior[:, group].sum(dim=1, keepdim=True) * sorting.by_map
        state = _with_group(state, group, sorting.state)
    alike = duplicates(context.frame, state, context.config.ends_at)
    class_priors = state.class_priors.clone()
    for number, other in alike.items():
        labels[labels == number] = other
        posterior[:, other] += posterior[:, number]
        posterior[:, number] = 0
        class_priors[other] += state.class_priors[number]
        class_priors[number] = 0
    certain = posterior.max(dim=1).values > _CERTAIN
    return Classified(replace(state, class_priors=class_priors), labels, certain, alike)


def _with_group(state: SearchState, group: list[int], part: SearchState) -> SearchState:
    """Maps and fractions of some classes put in their places, and noise and scale as found."""
    return replace(state.with_part(group, part), noise=part.noise, scale=part.scale)


def _left_alone(shares: Float[Tensor, " k"], before: Float[Tensor, " k"]) -> bool:
    """Whether all classes but one are starved, and together hold less than in the pass before."""
    fed, starved = fed_and_starved(shares)
    return len(fed) == 1 and bool(shares[starved].sum() <= before[starved].sum())


def _separated(
    context: RunContext,
    adaptive: AdaptiveSearch,
    state: SearchState,
    member: Bool[Tensor, " n"],
    on_event: OnEvent,
) -> Sorting:
    """Sort some particles among a state's maps, and make these anew, until few change class.

    It also ends where one class is about to hold them all.
    """
    final, adaptive = context.config.ends_at, adaptive.divided(len(state.maps))
    narrowed = adaptive
    mapped = partial(with_maps, context, partial(class_prior, _TAU2_FUDGE))
    folds = in_folds(adaptive, context.image_numbers, member)
    sorting = unsorted(state, folds, len(context.table))
    shares = state.class_priors.cpu()
    for number in range(_MOST_PASSES):
        resolution = pass_resolution(final, number)
        search = partial(fine_search, context, narrowed)
        step = FoldStep(search, mapped, context.images.mask_share)
        sorting, found = sorting_pass(sorting, step, context.frame.rings_at(resolution))
        on_event(
            {
                "event": "classification",
                "stage": f"classes of start {state.start + 1}",
                "start": state.start + 1,
                "iteration": number + 1,
                "at_most": _MOST_PASSES,
                "resolution": round(resolution, 2),
                "changed": sorting.changed[-1],
                "class_fractions": sorting.state.class_priors.tolist(),
                "log_likelihood": sorting.evidence,
            }
        )
        noisy = noise_probability(sorting.log_evidence[member]) > 0.5
        before, shares = shares, sorting.by_map[member][~noisy | noisy.all()].mean(dim=0)
        if sorting.settled or (number >= _SURE and _left_alone(shares, before)):
            break
        narrowed = adaptive.narrowed(torch.cat(folds.index), PoseEstimates.joined(found))
    total = sorting.folds.without()
    assert total is not None
    made = mapped(sorting.state, total, context.frame.rings_at(final))
    return replace(sorting, state=replace(made, class_priors=shares.to(made.class_priors)))
