"""The two ways that a classification looks at particles: on grids, or round given poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.classify import Classify3dOptions
from vitreous.engine.adaptive_search import AdaptiveSearch, fine_search
from vitreous.engine.folds import Folds, Searched, dealt, in_folds
from vitreous.engine.grid_search import Search
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices, local_pass
from vitreous.engine.planes import PlaneImages
from vitreous.engine.searches.local import Neighbourhood, neighbourhood
from vitreous.engine.searches.sampling import shift_cells, shift_grid
from vitreous.engine.state import SearchState
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses


@dataclass(frozen=True)
class GridSearch(Search):
    """A search of all orientations at twice the angular step, and finely near the best."""

    options: Classify3dOptions

    @property
    def offsets(self) -> tuple[float, float]:
        """Range and step of the shifts, pixels of the maps' grid."""
        return self.options.offset_range, 2 * self.options.offset_step

    @property
    def solvent_flatten(self) -> bool:
        """Mask the solvent and keep density non-negative."""
        return self.options.solvent_flatten

    def angular_step(self, resolution: float) -> float:
        """Angular step in degrees: the same at every resolution."""
        return 2 * self.options.angular_sampling

    @property
    def last_angular_step(self) -> float:
        """Angular step in degrees that classes are told apart at."""
        return self.options.angular_sampling


class PoseSearch(Protocol):
    """How particles are looked at in the passes over all of them."""

    def searched(self, state: SearchState, index: Int[Tensor, " b"], rings: int) -> Searched[Any]:
        """What a state's maps tell of some particles."""

    def posed(self, index: Int[Tensor, " b"], best: Any) -> PoseMatrices:
        """Where they lie."""

    def folds(self, seed: int) -> Folds:
        """All particles, dealt out."""


@dataclass(frozen=True)
class FineSearch:
    """Finely, near the places that a search of all orientations left."""

    search: Search
    adaptive: AdaptiveSearch

    def searched(self, state: SearchState, index: Int[Tensor, " b"], rings: int) -> Searched[Any]:
        """What a state's maps tell of some particles."""
        adaptive = self.adaptive.divided(len(state.maps))
        return fine_search(self.search, adaptive, state, index, rings)

    def posed(self, index: Int[Tensor, " b"], best: Any) -> PoseMatrices:
        """Where they lie."""
        return self.adaptive.posed(index, best)

    def folds(self, seed: int) -> Folds:
        """All particles, dealt out so that each fold has all views."""
        return in_folds(self.adaptive, self.search.image_numbers)


@dataclass(frozen=True)
class NearPoses:
    """In the neighbourhoods of the poses that the particles came with.

    Attributes
    ----------
    images : PlaneImages
    given : PoseMatrices
    image_numbers : int array (particles,)
        Number of the image that each particle shows.
    around : Neighbourhood
        One turn and one shift where nothing is to be searched.
    """

    images: PlaneImages
    given: PoseMatrices
    image_numbers: Int[np.ndarray, " n"]
    around: Neighbourhood

    def searched(self, state: SearchState, index: Int[Tensor, " b"], rings: int) -> Searched[Any]:
        """What a state's maps tell of some particles."""
        images, given = self.images.with_group_scales(state.scale), self.given.at(index)
        return local_pass(state, images, index, given, self.around, rings)

    def posed(self, index: Int[Tensor, " b"], best: Any) -> PoseMatrices:
        """Where they lie."""
        return PoseMatrices(best.matrices, best.origins)

    def folds(self, seed: int) -> Folds:
        """All particles, dealt out at random."""
        generator = torch.Generator().manual_seed(seed)
        return dealt(
            torch.randperm(len(self.given.origins), generator=generator), self.image_numbers
        )


def given_poses(table: ParticleSet, frame: Frame) -> PoseMatrices:
    """Poses of the STAR file in working pixels.

    Raises
    ------
    InputError
        Without angles.
    """
    poses = read_poses(table)
    origins = torch.from_numpy(poses.origins / frame.pixel_size).float()
    return PoseMatrices(torch.from_numpy(poses.matrices), origins)


def near_given(
    options: Classify3dOptions, operators: Float[Tensor, "s 3 3"], frame: Frame
) -> Neighbourhood:
    """Neighbourhood that the options ask for: one place, or all within the range."""
    step, shift = options.angular_sampling, options.offset_step
    pixels = frame.grid.pixel_size / frame.pixel_size
    if not options.align:
        return neighbourhood(step, 0.0, torch.zeros(1, 2), operators, 1.0)
    assert options.local_search is not None
    shifts = shift_grid(2 * shift, shift) * pixels
    cells = shift_cells(options.offset_range, shift)
    return neighbourhood(step, options.local_search / step, shifts, operators, cells)
