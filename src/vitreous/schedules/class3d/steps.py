"""How a class's maps are made, and which particles add to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.folds import FoldStep, Searched, Sorted
from vitreous.engine.images import Frame
from vitreous.engine.maps import constrained, solved
from vitreous.engine.sorting import class_prior
from vitreous.engine.state import SearchState
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.schedules.class3d.pose_search import PoseSearch

_LEAST = 1e-30
"""Posterior that a class has of every particle at the least when shares are evened."""

_LEAST_SHARE = 1e-6
"""Prior probability that a search takes every class to have at the least."""

_TURNS = 30
"""Turns in which shares are evened."""

SearchPoses = Callable[[SearchState, Int[Tensor, " b"], int], Searched[Any]]
"""Searches some particles with a state's maps on so many rings."""


@dataclass(frozen=True)
class MapMaking:
    """What is asked of all maps.

    Attributes
    ----------
    frame : Frame
    solvent_flatten : bool
        Keep density non-negative and within the mask.
    tau2_fudge : float
        Factor on the maps' power as prior.
    mask : tensor (n, n, n), optional
        That maps are multiplied by.
    fixed : list of int
        Maps (from 0) that stay as they are.
    """

    frame: Frame
    solvent_flatten: bool
    tau2_fudge: float
    mask: Float[Tensor, "n n n"] | None
    fixed: list[int]

    def allowed(
        self, maps: Float[Tensor, "k n n n"], before: Float[Tensor, "k n n n"] | None = None
    ) -> Float[Tensor, "k n n n"]:
        """Maps as they may enter a comparison; ``before`` are those that some stay as."""
        masked = constrained(maps, self.frame, self.solvent_flatten)
        if self.mask is not None:
            masked = masked * self.mask
        if before is not None and self.fixed:
            masked = masked.clone()
            masked[self.fixed] = before[self.fixed]
        return masked

    def mapped(self, state: SearchState, sums: Accumulator, rings: int) -> SearchState:
        """A state whose maps are made from these sums."""
        prior = class_prior(self.tau2_fudge, state, sums, rings)
        maps = solved(sums, prior, self.frame, rings, self.solvent_flatten)
        return replace(state, maps=self.allowed(maps, state.maps), rings=rings)


@dataclass(frozen=True)
class _Divided:
    """A search of some particles that each add to one class alone."""

    best: Sorted
    sums: Accumulator | None
    residual: Float[Tensor, "g rings"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]


def _one_class(state: SearchState, number: int) -> SearchState:
    maps = state.maps[number : number + 1]
    return replace(state, maps=maps, class_priors=torch.ones_like(state.class_priors[:1]))


def hard(search_poses: SearchPoses) -> SearchPoses:
    """The same search, but each particle adds to its likeliest class alone.

    The particles of a class are searched again with its map alone: the posterior over places is
    then that within the class.
    """

    def searched(state: SearchState, index: Int[Tensor, " b"], rings: int) -> _Divided:
        every = search_poses(state, index, rings)
        assert every.sums is not None
        label = every.best.map_probability.argmax(dim=1).cpu()
        sums = every.sums.zeros()
        residual, count = torch.zeros_like(every.residual), torch.zeros_like(every.count)
        fit = torch.zeros_like(every.fit)
        for number in label.unique().tolist():
            own = search_poses(_one_class(state, number), index[label == number], rings)
            assert own.sums is not None
            sums.at(number).add(own.sums)
            residual, count = residual + own.residual, count + own.count
            fit = fit + own.fit
        return _Divided(every.best, sums, residual, count, fit)

    return searched


def even_class_priors(state: SearchState, by_map: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Prior probabilities under which all classes get as many of a fold's particles.

    A class with more particles has the better map, and with it attracts the particles of others:
    this takes its advantage off, as far as particles are not sure of their class.  Found by turns
    (Sinkhorn, Ann. Math. Stat. 35, 876 (1964)).
    """
    prior = state.class_priors.double().log()
    likely = by_map.double().clamp(min=_LEAST).log() - prior
    for _ in range(_TURNS):
        share = (likely + prior).softmax(dim=1).mean(dim=0)
        prior = (prior - share.log()).log_softmax(dim=0)
    return prior.exp().clamp(min=_LEAST_SHARE).to(state.class_priors)


def fold_step(
    pose_search: PoseSearch, making: MapMaking, mask_share: float, *, divided: bool
) -> FoldStep[SearchState, Any]:
    """How folds are searched and their maps made; ``divided`` for hard classes."""
    search_poses = hard(pose_search.searched) if divided else pose_search.searched
    return FoldStep(search_poses, making.mapped, mask_share)
