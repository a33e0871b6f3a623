"""Every particle looked at again and again: everywhere on a coarse grid, then finely nearby."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.grid_pass import GATHERED, SamplingGrid, neighbouring
from vitreous.engine.grid_search import Search
from vitreous.engine.junk import noise_probability
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.pass_result import PassResult
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.state import SearchState
from vitreous.math.so3 import OrientationGrid

_REACH = 1.0
"""Steps of a grid within which directions follow one of its significant ones: a HEALPix cell
reaches 0.88 steps from its centre."""


@dataclass(frozen=True)
class AdaptiveSearch:
    """What a grid found of all particles, and the finer places that are worth trying.

    Attributes
    ----------
    best : PoseEstimates
    coarse, fine : OrientationGrid
        The grid that was searched, and the next.
    step : float
        Angular step of the fine one, degrees.
    origins : tensor (particles, 2)
        Best shifts, working pixels.
    shifts : tensor (shifts, 2)
        To be tried round the origins.
    operators : tensor (operators, 3, 3)
    maps : int
        Maps that places are for.
    any_map : bool
        Whether what one map allows is tried with all of them.
    found : bool tensor (particles, maps * directions), optional
        Places of the fine grid that a search of it left to be tried, instead of those that the
        coarse one leaves.
    """

    best: PoseEstimates
    coarse: OrientationGrid
    fine: OrientationGrid
    step: float
    origins: Float[Tensor, "n 2"]
    shifts: Float[Tensor, "t 2"]
    operators: Float[Tensor, "s 3 3"]
    maps: int
    any_map: bool = False
    found: Bool[Tensor, "n kd"] | None = None

    def divided(self, maps: int) -> AdaptiveSearch:
        """The same for so many maps in place of one."""
        return replace(self, maps=maps)

    @property
    def junk(self) -> Bool[Tensor, " n"]:
        """Images that are likelier to be noise, or junk where that was left out, than a map's."""
        noisy = noise_probability(self.best.log_evidence.cpu()) > 0.5
        return noisy | (self.best.particle_probability.cpu() < 0.5)

    def posed(self, index: Int[Tensor, " b"], best: PoseEstimates) -> PoseMatrices:
        """Best places of these particles on the fine grid."""
        reference = best.reference.cpu() % len(self.fine.directions)
        matrices = self.fine.matrices(reference, best.psi.cpu()).contiguous()
        return PoseMatrices(matrices, self.origins[index] + self.shifts[best.shift.cpu()])

    def order(self) -> Int[Tensor, " n"]:
        """Particles sorted by their best reference: neighbours then share a tile's references."""
        return self.best.reference.argsort(stable=True).cpu()

    def places(self, index: Int[Tensor, " b"], rings: int) -> SamplingGrid:
        """Fine directions near those that hold nearly all of these particles' posterior."""
        if self.found is not None:
            allowed = self.found[index.to(self.found.device)]
        else:
            allowed = self._near(self.best, index, self.coarse, 2 * self.step)
        origins = self.origins[index]
        return SamplingGrid(self.fine, self.shifts, rings, self.operators, origins, allowed)

    def narrowed(self, index: Int[Tensor, " b"], best: PoseEstimates) -> AdaptiveSearch:
        """The same after some particles were searched finely: others have no places any more."""
        near = self._near(best, torch.arange(len(index)), self.fine, self.step)
        found = near.new_zeros(len(self.origins), near.shape[1])
        found[index.to(found.device)] = near
        return replace(self, found=found)

    def _near(
        self, best: PoseEstimates, rows: Int[Tensor, " b"], grid: OrientationGrid, step: float
    ) -> Bool[Tensor, "b kd"]:
        """Fine directions near those of a grid that hold nearly all of these rows' posterior."""
        parts = []
        for some in rows.to(best.reference.device).split(GATHERED):
            near = neighbouring(best.at(some), grid, self.fine, self.operators, step * _REACH)
            if self.any_map:
                joint = near.view(len(some), -1, len(self.fine.directions)).any(dim=1)
                near = joint.repeat(1, self.maps)
            parts.append(near)
        return torch.cat(parts)


def coarse_search(
    search: Search,
    state: SearchState,
    resolution: float,
    centres: Float[Tensor, "n 2"] | None = None,
    *,
    any_map: bool = False,
) -> AdaptiveSearch:
    """Search all particles on the grid of the iterations at a resolution in angstrom.

    Shifts are searched round ``centres`` (working pixels) where these were found before.
    """
    step, (_, shift_step) = search.last_angular_step, search.offsets
    index = torch.arange(len(search.table))
    grid = replace(search.places(resolution, near=centres is not None), origins=centres)
    grid = search.with_junk(grid, state, index)
    best = search.search(state, index, grid, accumulate=False).best
    found = grid.shifts[best.shift.cpu()]
    return AdaptiveSearch(
        best,
        grid.orientations,
        search.orientations(step),
        step,
        found if centres is None else centres + found,
        search.shifts(0.75 * shift_step, shift_step / 2),
        search.operators,
        len(state.maps),
        any_map,
    )


def fine_search(
    search: Search,
    adaptive: AdaptiveSearch,
    state: SearchState,
    index: Int[Tensor, " b"],
    rings: int,
) -> PassResult[PoseEstimates]:
    """Search some particles on the fine grid, near the places that are worth trying."""
    places = search.with_junk(adaptive.places(index, rings), state, index)
    return search.search(state, index, places)
