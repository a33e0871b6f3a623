"""One pass over some particles on a grid of orientations, and the sums of the map that follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.engine.maps import PADDING
from vitreous.engine.model import Model
from vitreous.engine.pass_result import PassResult, no_pass_sums, result_of
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.grid import (
    References,
    RingSums,
    Trial,
    direction_points,
    expectation,
    references,
)
from vitreous.engine.searches.posterior import PoseEstimates, no_estimates
from vitreous.engine.searches.tiles import Tiling
from vitreous.engine.shards import Batch, ShardSums, placed
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.math.so3 import OrientationGrid, neighbours
from vitreous.math.symmetry import lattice_cosets
from vitreous.particles.loader import ahead
from vitreous.reconstruct.accumulator import Accumulator, insert

GATHERED = 2048
"""Particles of one optics group that are copied together and searched."""


@dataclass(frozen=True)
class SamplingGrid:
    """Where a pass looks.

    Attributes
    ----------
    orientations : OrientationGrid
        Of the asymmetric unit of the point group.
    shifts : tensor (shifts, 2)
        Working pixels.
    rings : int
        Rings used.
    operators : tensor (operators, 3, 3)
        The point group.
    origins : tensor (particles, 2), optional
        Shifts already applied (working pixels), round which ``shifts`` are tried; none by default.
    allowed : bool tensor (particles, maps * directions), optional
        References to try for each particle; all by default.
    junk : tensor (particles,), optional
        Log-likelihood of each as junk, its prior odds included.
    """

    orientations: OrientationGrid
    shifts: Float[Tensor, "t 2"]
    rings: int
    operators: Float[Tensor, "s 3 3"]
    origins: Float[Tensor, "b 2"] | None = None
    allowed: Bool[Tensor, "b kd"] | None = None
    junk: Float[Tensor, " b"] | None = None


def search_pass(
    model: Model,
    images: RingImages,
    frame: Frame,
    index: Int[Tensor, " b"],
    places: SamplingGrid,
    tiling: Tiling,
    *,
    similarity: float = 0.0,
    accumulate: bool = True,
) -> PassResult[PoseEstimates]:
    """Search every orientation and shift for some particles.

    Parameters
    ----------
    model : Model
    images : RingImages
    frame : Frame
    index : integer tensor (particles,)
        Rows of ``images``.
    places : SamplingGrid
    tiling : Tiling
    similarity : float
        Class similarity.
    accumulate : bool
        Whether to make the sums of the M-step.
    """
    polar, shards = frame.polar.inner(places.rings), images.shards
    maps, groups, device = len(model.maps), len(model.noise), model.maps.device
    lattice, cosets = lattice_cosets(places.operators)
    refs = references(
        map_to_cube(model.maps, places.rings + 1, PADDING), places.orientations, polar
    )
    log_prior = _log_prior(model, places)
    sums = ShardSums(shards, partial(no_pass_sums, maps, places.rings, groups, device))
    found: list[tuple[Tensor, PoseEstimates]] = []

    def gathered(batch: Batch) -> tuple[Tensor, Tensor]:
        samples, ctf = images.at(index[batch.member], polar)
        if places.origins is None:
            return samples, ctf
        origins = places.origins[batch.member]
        return samples * shift_phase(polar.points(device), origins, frame.box), ctf

    batches = shards.batches(index, images.group[index], GATHERED)
    for batch, (samples, ctf) in ahead(batches, gathered):
        spectrum = model.noise[batch.group, : places.rings]
        trial = Trial(
            refs, spectrum, places.shifts, frame.box, log_prior, tiling, similarity, accumulate
        )
        here = batch.member.to(device)
        allowed, junk = (
            None if given is None else given[here] for given in (places.allowed, places.junk)
        )
        best, part = expectation(trial, samples, ctf, allowed, junk)
        found.append((batch.member, best))
        if part is not None:
            total = sums.of(batch.shard)
            total.count[batch.group] += part.count
            total.residual[batch.group] += part.residual
            weight = polar.radii(device) / spectrum
            total.fit[batch.group] += torch.stack([part.product, part.power]) @ weight
            _insert_rings(total.cubes, part, refs, places, spectrum, cosets)
    best = placed(shards, index, found, no_estimates(len(index), maps, len(log_prior), device))
    whole = sums.total() if accumulate else no_pass_sums(0, places.rings, groups, device)
    return result_of(best, whole, lattice, accumulated=accumulate)


def _log_prior(model: Model, places: SamplingGrid) -> Float[Tensor, " kd"]:
    """Of every reference: directions of a map are alike."""
    directions = len(places.orientations.directions)
    each = (model.class_priors.clamp(min=1e-6) / directions).log()
    return each.repeat_interleave(directions).to(model.maps.device)


def _insert_rings(
    total: Accumulator,
    sums: RingSums,
    refs: References,
    places: SamplingGrid,
    noise: Float[Tensor, " rings"],
    cosets: Float[Tensor, "c 3 3"],
) -> None:
    """Put a batch's ring sums into the cube, with the mates that its lattice does not have."""
    polar, device = refs.polar, total.weight.device
    area = (polar.sample_area(device) / noise)[:, None]
    points = direction_points(places.orientations.directions, polar, device).reshape(-1, 3)

    data, weight = ((part * area).view(refs.maps, 1, -1) for part in (sums.data, sums.weight))
    for turn in cosets.to(points):
        insert(total, points, turn.T[None], data, weight)


def neighbouring(
    best: PoseEstimates,
    coarse: OrientationGrid,
    fine: OrientationGrid,
    operators: Float[Tensor, "s 3 3"],
    reach: float,
) -> Bool[Tensor, "n kf"]:
    """References of ``fine`` within ``reach`` degrees of the significant ones of ``coarse``."""
    near = neighbours(fine, coarse, operators, reach)
    by_map = best.significant.view(len(best.reference), -1, len(coarse.directions)).float()
    return ((by_map @ near.to(by_map)) > 0).flatten(1)
