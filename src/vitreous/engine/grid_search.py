"""A search of particles in a frame: what stays the same throughout, whichever job it is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.grid_pass import SamplingGrid, search_pass
from vitreous.engine.images import Frame
from vitreous.engine.junk import junk_log_likelihood, junk_log_odds
from vitreous.engine.pass_result import PassResult
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.engine.state import SearchState
from vitreous.math.so3 import OrientationGrid, order_for, orientation_grid
from vitreous.particles.groups import image_numbers
from vitreous.particles.particle_set import ParticleSet

SMALL_BOX = 96
"""Largest working box whose maps are handled on one core: more gain little, and lose much where
another program keeps them busy."""

_NEAR = 1.5
"""Steps that shifts are tried within round those found before: the nine nearest."""


@dataclass(frozen=True)
class Search(ABC):
    """The data of a search; its job says how finely all orientations and shifts are sampled."""

    table: ParticleSet
    frame: Frame
    images: RingImages
    operators: Float[Tensor, "s 3 3"]
    device: torch.device
    tiling: Tiling

    @property
    @abstractmethod
    def offsets(self) -> tuple[float, float]:
        """Range and step of the shifts, pixels of the maps' grid."""

    @property
    @abstractmethod
    def solvent_flatten(self) -> bool:
        """Mask the solvent and keep density non-negative."""

    @abstractmethod
    def angular_step(self, resolution: float) -> float:
        """Angular step in degrees for a resolution in angstrom."""

    @property
    @abstractmethod
    def last_angular_step(self) -> float:
        """Angular step in degrees of the finer search near the best places."""

    @property
    def to_working_pixels(self) -> float:
        """Working pixels in a pixel of the maps' grid."""
        return self.frame.grid.pixel_size / self.frame.pixel_size

    @cached_property
    def image_numbers(self) -> Int[np.ndarray, " n"]:
        """Number of the image that each particle shows."""
        return image_numbers(self.table)

    @cached_property
    def image_power(self) -> Float[Tensor, "g rings"]:
        """Mean power of each optics group's unmasked images."""
        return self.images.power(len(self.table.optics))

    @property
    def leaves_out_junk(self) -> bool:
        """Whether images that no map explains better than junk does add nothing to the maps."""
        return False

    def with_junk(
        self, places: SamplingGrid, state: SearchState, index: Int[Tensor, " b"]
    ) -> SamplingGrid:
        """Places with the log-likelihood of these particles as junk, if junk is left out."""
        if not self.leaves_out_junk:
            return places
        rings, group = places.rings, self.images.group[index]
        power = self.images.shell_power
        power = power[index.to(power.device), :rings]
        noise = state.noise[:, :rings].to(power)
        signal = self.image_power[:, :rings] - noise
        radii = self.frame.polar.inner(rings).radii(noise.device)
        likely = junk_log_likelihood(
            power / self.images.mask_share,
            noise[group],
            signal.clamp(min=0)[group],
            2 * torch.pi * radii * self.images.mask_share,
        )
        odds = junk_log_odds(state.junk, state.evidence)
        return replace(places, junk=(likely + odds).to(self.device))

    def shifts(self, reach: float, step: float) -> Float[Tensor, "t 2"]:
        """Shift lattice given in pixels of the maps' grid, in working pixels."""
        return shift_grid(reach, step) * self.to_working_pixels

    def orientations(self, step: float, seed: int | None = None) -> OrientationGrid:
        """Grid of the nearest HEALPix step over the asymmetric unit, turned if given a seed."""
        return orientation_grid(order_for(step), self.operators, seed)

    def places(
        self, resolution: float, seed: int | None = None, *, near: bool = False
    ) -> SamplingGrid:
        """Every orientation and shift, on the rings out to a resolution in angstrom.

        Where shifts were found before only ``near`` ones are tried, round these.
        """
        reach, step = self.offsets
        return SamplingGrid(
            self.orientations(self.angular_step(resolution), seed),
            self.shifts(min(reach, _NEAR * step) if near else reach, step),
            self.frame.rings_at(resolution),
            self.operators,
        )

    def search(
        self,
        state: SearchState,
        index: Int[Tensor, " b"],
        places: SamplingGrid,
        *,
        similarity: float = 0.0,
        accumulate: bool = True,
    ) -> PassResult[PoseEstimates]:
        """Search some particles with a state's maps, as the engine's ``search_pass`` does."""
        return search_pass(
            state,
            self.images.with_group_scales(state.scale),
            self.frame,
            index,
            places,
            self.tiling,
            similarity=similarity,
            accumulate=accumulate,
        )
