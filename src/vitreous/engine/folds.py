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
from vitreous.engine.loop import Iteration, run_through
from vitreous.engine.maps import solved
from vitreous.engine.model import Residuals, ScaledModel, renewed_noise, renewed_scale
from vitreous.engine.state import SearchState
from vitreous.particles import groups
from vitreous.reconstruct.accumulator import Accumulator, summed

FOLDS = 4
"""Parts that particles are dealt out in."""

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
AnyModel = TypeVar("AnyModel", bound=ScaledModel)
AnyBestOut = TypeVar("AnyBestOut", bound=Sorted, covariant=True)


class Searched(Residuals, Protocol[AnyBestOut]):
    """What a search of some particles found, on a grid or round their own places."""

    @property
    def best(self) -> AnyBestOut:
        """In the order of the particles given."""

    @property
    def sums(self) -> Accumulator | None:
        """Contribution to the M-step."""


def moved_class_priors(model: ScaledModel, by_map: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Class priors moved towards the classes' shares of a fold."""
    return model.class_priors + (by_map.mean(dim=0) - model.class_priors) / FOLDS


@dataclass(frozen=True)
class FoldStep(Generic[AnyModel, AnyBest]):
    """How a fold is searched, and how maps are made from the others.

    Attributes
    ----------
    search : callable
        Of a model's maps, some particles and the rings used.
    mapped : callable
        Model with maps from sums and the rings used.
    mask_share : float
        Share of the noise power that the images' mask lets through.
    priors : callable
        Class priors, from a model and a fold's posteriors.
    posed : callable, optional
        Model with the poses of these particles that were found, if it holds poses.
    """

    search: Callable[[AnyModel, Int[Tensor, " b"], int], Searched[AnyBest]]
    mapped: Callable[[AnyModel, Accumulator, int], AnyModel]
    mask_share: float
    priors: Callable[[AnyModel, Float[Tensor, "n k"]], Float[Tensor, " k"]] = moved_class_priors
    posed: Callable[[AnyModel, Int[Tensor, " b"], AnyBest], AnyModel] | None = None

    def renewed(
        self, model: AnyModel, index: Int[Tensor, " b"], result: Searched[AnyBest]
    ) -> AnyModel:
        """Model with noise, contrasts, class priors and poses after a fold."""
        renewed = replace(
            model,
            noise=renewed_noise(model.noise, result, self.mask_share, _NOISE_RATE),
            scale=renewed_scale(model.scale, result, _NOISE_RATE),
            class_priors=self.priors(model, result.best.map_probability.to(model.class_priors)),
        )
        return renewed if self.posed is None else self.posed(renewed, index, result.best)


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

    def half(self, number: int) -> Accumulator:
        """Sums of every other fold, from the first (0) or the second (1) on."""
        parts = [part for part in self.sums[number::2] if part is not None]
        assert len(parts) == len(self.sums[number::2])
        return summed(parts)

    def with_sums(self, number: int, sums: Accumulator | None) -> Folds:
        """The same with what a fold gave anew."""
        return replace(self, sums=[*self.sums[:number], sums, *self.sums[number + 1 :]])


def index_of_folds(
    order: Int[Tensor, " m"], image: Int[np.ndarray, " n"]
) -> list[Int[Tensor, " f"]]:
    """Particles of each fold, dealt out in this order; those that show one image stay together."""
    return [torch.from_numpy(fold) for fold in groups.folds(order.numpy(), image, FOLDS)]


def unsearched(index: list[Int[Tensor, " f"]]) -> Folds:
    """Folds before the first pass."""
    return Folds(index, [None] * len(index))


def dealt(order: Int[Tensor, " m"], image: Int[np.ndarray, " n"]) -> Folds:
    """Particles dealt out in this order, by the images that they show."""
    return unsearched(index_of_folds(order, image))


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
    model: AnyModel, folds: Folds, step: FoldStep[AnyModel, AnyBest], rings: int
) -> tuple[AnyModel, Folds, list[AnyBest]]:
    """Search all folds once, each with the maps of the others as they stand by then.

    Incremental EM: Neal & Hinton, Learning in Graphical Models, 355 (1998).

    Returns
    -------
    model : Model
        With the last fold's maps; noise, contrasts and class priors renewed.
    folds : Folds
    best : list
        Of the particles of every fold, in its order.
    """
    found: list[AnyBest] = []

    def references(at: tuple[AnyModel, Folds], number: int) -> tuple[AnyModel, Folds]:
        others = at[1].without(number)
        return at if others is None else (step.mapped(at[0], others, rings), at[1])

    def expectation(
        at: tuple[AnyModel, Folds], number: int, index: Int[Tensor, " b"]
    ) -> Searched[AnyBest]:
        return step.search(at[0], index, rings)

    def maximisation(
        at: tuple[AnyModel, Folds], number: int, index: Int[Tensor, " b"], result: Searched[AnyBest]
    ) -> tuple[AnyModel, Folds]:
        found.append(result.best)
        return step.renewed(at[0], index, result), at[1].with_sums(number, result.sums)

    each = Iteration(expectation, maximisation, references)
    model, folds = run_through((model, folds), folds.index, each)
    return model, folds, found
