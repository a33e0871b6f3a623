"""Passes over all particles in folds: each fold is searched with the maps of the others.

A particle's own noise is then no part of the map it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.jobs.abinit.looks import Look
from vitreous.jobs.abinit.problem import Problem
from vitreous.jobs.abinit.state import SearchState
from vitreous.jobs.engine import renewed_noise, solved
from vitreous.reconstruct.insert import Accumulator
from vitreous.search.posterior import Best, joined

_FOLDS = 4

_NOISE_RATE = 0.3
"""Share of the noise spectrum renewed by each fold."""

Regulariser = Callable[[SearchState, Accumulator, int], Float[Tensor, "k s"]]
"""Prior power from the present state, the sums and the rings used."""


@dataclass(frozen=True)
class Folds:
    """Particles in folds, and what each fold gave the maps when it was searched last.

    Attributes
    ----------
    index : list of integer tensors
    sums : list of Accumulator or None
        None before the first search.
    """

    index: list[Int[Tensor, " b"]]
    sums: list[Accumulator | None]

    def without(self, left_out: int | None = None) -> Accumulator | None:
        """Sums of all folds but one, once they have been searched."""
        total: Accumulator | None = None
        for number, part in enumerate(self.sums):
            if number == left_out:
                continue
            if part is None:
                return None
            total = part if total is None else total.plus(part)
        return total


def in_folds(look: Look, keep: Bool[Tensor, " n"] | None = None) -> Folds:
    """Particles, or those to be kept, dealt out so that each fold has all views."""
    order = look.order()
    if keep is not None:
        order = order[keep[order]]
    return Folds([order[number::_FOLDS] for number in range(_FOLDS)], [None] * _FOLDS)


def with_maps(
    problem: Problem, state: SearchState, sums: Accumulator, rings: int, regulariser: Regulariser
) -> SearchState:
    """A state whose maps are made from these sums."""
    prior = regulariser(state, sums, rings)
    maps = solved(sums, prior, problem.frame, rings, problem.config.flatten)
    return replace(state, maps=maps, rings=rings)


def folds_pass(
    problem: Problem,
    state: SearchState,
    look: Look,
    folds: Folds,
    rings: int,
    regulariser: Regulariser,
) -> tuple[SearchState, Folds, Best]:
    """Search all folds once, each with the maps of the others as they stand by then.

    Incremental EM: Neal & Hinton, Learning in Graphical Models, 355 (1998).

    Returns
    -------
    state : SearchState
        With the last fold's maps; noise and fractions renewed.
    folds : Folds
    best : Best
        Of the particles in the order of the folds.
    """
    found = []
    for number, index in enumerate(folds.index):
        others = folds.without(number)
        if others is not None:
            state = with_maps(problem, state, others, rings, regulariser)
        places = look.places(index, rings)
        result = problem.search(state, index, state.noise, places, look.origins[index])
        sums = [*folds.sums]
        sums[number] = result.sums
        folds = Folds(folds.index, sums)
        found.append(result.best)
        share = result.best.map_probability.mean(dim=0)
        state = replace(
            state,
            noise=renewed_noise(state.noise, result, problem.images.mask_share, _NOISE_RATE),
            fractions=state.fractions + (share - state.fractions) / _FOLDS,
        )
    return state, folds, joined(found)
