"""Passes over all particles in folds: each fold is searched with the maps of the others.

A particle's own noise is then no part of the map it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch
from vitreous.engine.grid_search import Search
from vitreous.engine.pass_ import Residuals, renewed_noise, renewed_scale, solved
from vitreous.engine.state import SearchState
from vitreous.particles import groups
from vitreous.reconstruct.accumulator import Accumulator, summed

_FOLDS = 4

_NOISE_RATE = 0.3
"""Share of the noise spectra and contrasts renewed by each fold."""

Regulariser = Callable[[SearchState, Accumulator, int], Float[Tensor, "k s"]]
"""Prior power from the present state, the sums and the rings used."""


class Sorted(Protocol):
    """What a search tells of each particle's classes."""

    @property
    def log_evidence(self) -> Float[Tensor, " n"]:
        """Log of the likelihood summed over all places and maps."""

    @property
    def map_probability(self) -> Float[Tensor, "n k"]:
        """Posterior of each map."""


AnyBest = TypeVar("AnyBest", bound=Sorted)
AnyBestOut = TypeVar("AnyBestOut", bound=Sorted, covariant=True)


class Searched(Residuals, Protocol[AnyBestOut]):
    """What a search of some particles found, on a grid or round their own places."""

    @property
    def best(self) -> AnyBestOut:
        """In the order of the particles given."""

    @property
    def sums(self) -> Accumulator | None:
        """Contribution to the M-step."""


def moved_class_priors(state: SearchState, by_map: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Shares of the classes, moved towards those of a fold."""
    return state.class_priors + (by_map.mean(dim=0) - state.class_priors) / _FOLDS


@dataclass(frozen=True)
class FoldStep(Generic[AnyBest]):
    """How a fold is searched, and how maps are made from the others.

    Attributes
    ----------
    search : callable
        Of a state's maps, some particles and the rings used.
    mapped : callable
        State with maps from sums and the rings used.
    mask_share : float
        Share of the noise power that the images' mask lets through.
    shares : callable
        Prior probabilities of the classes, from a state and a fold's posteriors.
    """

    search: Callable[[SearchState, Int[Tensor, " b"], int], Searched[AnyBest]]
    mapped: Callable[[SearchState, Accumulator, int], SearchState]
    mask_share: float
    shares: Callable[[SearchState, Float[Tensor, "n k"]], Float[Tensor, " k"]] = moved_class_priors


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
        parts = [part for number, part in enumerate(self.sums) if number != left_out]
        searched = [part for part in parts if part is not None]
        return summed(searched) if len(searched) == len(parts) else None


def index_of_folds(
    order: Int[Tensor, " m"], image: Int[np.ndarray, " n"]
) -> list[Int[Tensor, " f"]]:
    """Particles of each fold, dealt out in this order; those that show one image stay together."""
    return [torch.from_numpy(fold) for fold in groups.folds(order.numpy(), image, _FOLDS)]


def dealt(order: Int[Tensor, " m"], image: Int[np.ndarray, " n"]) -> Folds:
    """Particles dealt out in this order, by the images that they show."""
    return Folds(index_of_folds(order, image), [None] * _FOLDS)


def in_folds(
    adaptive: AdaptiveSearch, image: Int[np.ndarray, " n"], keep: Bool[Tensor, " n"] | None = None
) -> Folds:
    """Particles, or those to be kept, dealt out so that each fold has all views."""
    order = adaptive.order()
    return dealt(order if keep is None else order[keep[order]], image)


def with_maps(
    search: Search, regulariser: Regulariser, state: SearchState, sums: Accumulator, rings: int
) -> SearchState:
    """A state whose maps are made from these sums."""
    prior = regulariser(state, sums, rings)
    maps = solved(sums, prior, search.frame, rings, search.solvent_flatten)
    return replace(state, maps=maps, rings=rings)


def folds_pass(
    state: SearchState, folds: Folds, step: FoldStep[AnyBest], rings: int
) -> tuple[SearchState, Folds, list[AnyBest]]:
    """Search all folds once, each with the maps of the others as they stand by then.

    Incremental EM: Neal & Hinton, Learning in Graphical Models, 355 (1998).

    Returns
    -------
    state : SearchState
        With the last fold's maps; noise and fractions renewed.
    folds : Folds
    best : list
        Of the particles of every fold, in its order.
    """
    found = []
    for number, index in enumerate(folds.index):
        others = folds.without(number)
        if others is not None:
            state = step.mapped(state, others, rings)
        result = step.search(state, index, rings)
        sums = [*folds.sums]
        sums[number] = result.sums
        folds = Folds(folds.index, sums)
        found.append(result.best)
        state = replace(
            state,
            noise=renewed_noise(state.noise, result, step.mask_share, _NOISE_RATE),
            scale=renewed_scale(state.scale, result, _NOISE_RATE),
            class_priors=step.shares(state, result.best.map_probability.to(state.class_priors)),
        )
    return state, folds, found
