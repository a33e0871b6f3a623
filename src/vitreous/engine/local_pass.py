"""One pass round every particle's present place, and the sums of the map that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.maps import PADDING
from vitreous.engine.model import Model
from vitreous.engine.pass_result import PassResult, PassSums, no_pass_sums, result_of
from vitreous.engine.planes import HalfPlane, PlaneImages
from vitreous.engine.searches.local import (
    LocalPoseEstimates,
    LocalTrial,
    Neighbourhood,
    SliceSums,
    local_expectation,
    no_local_estimates,
)
from vitreous.engine.searches.per_image import rows_put
from vitreous.engine.searches.prior import PlacePrior
from vitreous.engine.shards import Batch, ShardSums, placed
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.ops.threads import in_order, workers_on
from vitreous.reconstruct.accumulator import Accumulator, insert

_SAMPLES = 1_500_000
"""Samples of slices that a worker holds at once."""


@dataclass(frozen=True)
class PoseMatrices:
    """Where particles are thought to lie: on the host, but while a pass searches there.

    Attributes
    ----------
    matrices : tensor (particles, 3, 3)
        Volume to image frame, float64.
    origins : tensor (particles, 2)
        Working pixels.
    """

    matrices: Float[Tensor, "n 3 3"]
    origins: Float[Tensor, "n 2"]

    def at(self, index: Int[Tensor, " m"]) -> PoseMatrices:
        """The same of some particles."""
        return PoseMatrices(self.matrices[index], self.origins[index])

    def to(self, device: torch.device) -> PoseMatrices:
        """The same on another device."""
        return PoseMatrices(self.matrices.to(device), self.origins.to(device))

    def replaced(self, index: Int[Tensor, " m"], there: PoseMatrices) -> PoseMatrices:
        """The same with some particles elsewhere."""
        return PoseMatrices(
            rows_put(self.matrices, index, there.matrices),
            rows_put(self.origins, index, there.origins),
        )

    def moved(self, index: Int[Tensor, " m"], best: LocalPoseEstimates) -> PoseMatrices:
        """The same with some particles where they were found."""
        return self.replaced(index, PoseMatrices(best.matrices, best.origins))


def local_pass(
    model: Model,
    images: PlaneImages,
    index: Int[Tensor, " b"],
    posed: PoseMatrices,
    around: Neighbourhood,
    shells: int,
    *,
    prior: PlacePrior | None = None,
    accumulate: bool = True,
) -> PassResult[LocalPoseEstimates]:
    """Search the neighbourhoods of some particles' places.

    Parameters
    ----------
    model : Model
    images : PlaneImages
    index : integer tensor (particles,)
        Rows of ``images``.
    posed : PoseMatrices
        Of these particles.
    around : Neighbourhood
    shells : int
        Shells used.
    prior : PlacePrior, optional
        Of these particles' places, working pixels.
    accumulate : bool
        Whether to make the sums of the M-step.

    Returns
    -------
    result : PassResult
        What was found is on the host; its origins are whole ones, not beside the former.
    """
    (maps, *_, box), device = model.maps.shape, model.maps.device
    plane, shards = images.plane.inner(shells), images.shards
    present = posed.to(device)
    held = None if prior is None else prior.to(device)
    cube, around = map_to_cube(model.maps, shells + 1, PADDING), around.to(device)
    log_prior = model.class_priors.clamp(min=1e-6).log()
    size = max(1, _SAMPLES // (len(plane.points) * around.orientations))
    batches = shards.batches(index, images.group[index], size)

    def search(batch: Batch) -> tuple[LocalPoseEstimates, SliceSums | None]:
        member = batch.member
        samples, ctf = images.at(index[member], plane)
        precision = 2 / plane.per_sample(model.noise[batch.group])  # both Friedel halves
        return local_expectation(
            LocalTrial(cube, plane.points, precision, around, box, log_prior, accumulate),
            samples * shift_phase(plane.points, present.origins[member], box),
            ctf,
            present.matrices[member],
            None if held is None else held.at(member),
        )

    empty = partial(no_pass_sums, maps, shells, len(model.noise), device)
    sums, found = ShardSums(shards, empty), []
    results = in_order(search, batches, workers_on(device))
    for batch, (estimates, part) in zip(batches, results, strict=True):
        found.append((batch.member, estimates))
        if part is not None:
            _add(sums.of(batch.shard), batch.group, estimates, part, plane)
    best = placed(shards, index, found, no_local_estimates(len(index), maps))
    whole = sums.total() if accumulate else empty()
    for cube_part in whole.cubes.tensors() if accumulate else ():
        cube_part.mul_(0.5)  # each sample stands for both Friedel halves, which are joined at last
    return result_of(best.moved(posed.origins), whole, around.operators, accumulated=accumulate)


def _add(
    total: PassSums, group: int, found: LocalPoseEstimates, part: SliceSums, plane: HalfPlane
) -> None:
    """Add what a batch of an optics group gave."""
    total.count[group] += len(found.product)
    total.fit[group] += torch.stack([found.product.sum(), found.power.sum()])
    total.residual[group] += plane.mean(part.residual)
    cores = max(1, workers_on(total.count.device) // 2)  # the next batches are searched meanwhile
    insert(total.cubes, plane.points, part.matrices[:, :2], part.data, part.weight, cores)


def pass_by_class(
    search: Callable[[list[int], Int[Tensor, " m"]], PassResult[LocalPoseEstimates]],
    index: Int[Tensor, " b"],
    only: Int[Tensor, " b"],
    maps: int,
) -> PassResult[LocalPoseEstimates]:
    """A local pass in which particles whose class is known are compared with its map alone.

    Parameters
    ----------
    search : callable
        The pass, with some of the maps and some of the particles.
    index : integer tensor (particles,)
        All particles.
    only : integer tensor (particles,)
        Map that a particle is compared with; -1 for all maps.
    maps : int
    """
    parts, order, total = [], [], None
    for number in only.unique().tolist():
        member = torch.nonzero(only == number)[:, 0]
        some = list(range(maps)) if number < 0 else [number]
        result = search(some, index[member])
        total = _added(total, result.sums, some, maps)
        parts.append(replace(result, best=_among(result.best, some, maps), sums=None))
        order.append(member)
    return PassResult(
        LocalPoseEstimates.joined([part.best for part in parts]).at(torch.cat(order).argsort()),
        total,
        torch.stack([part.residual for part in parts]).sum(dim=0),
        torch.stack([part.count for part in parts]).sum(dim=0),
        torch.stack([part.fit for part in parts]).sum(dim=0),
    )


def _added(
    total: Accumulator | None, sums: Accumulator | None, some: list[int], maps: int
) -> Accumulator | None:
    """The sums of all maps, those of some added."""
    if sums is None or (total is None and len(some) == maps):
        return sums
    if total is None:
        data, weight = (part.new_zeros(maps, *part.shape[1:]) for part in (sums.data, sums.weight))
        total = Accumulator(data, weight, sums.padding)
    for place, number in enumerate(some):
        total.at(number).add(sums.at(place))
    return total


def _among(best: LocalPoseEstimates, some: list[int], maps: int) -> LocalPoseEstimates:
    """What was found with some maps as if with all, the others having no part in it."""
    by_map = best.map_probability.new_zeros(len(best.origins), maps)
    by_map[:, some] = best.map_probability
    return replace(best, map_probability=by_map)
