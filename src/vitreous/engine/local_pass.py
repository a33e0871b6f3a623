"""One pass round every particle's present place, and the sums of the map that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.pass_ import PADDING
from vitreous.engine.planes import PlaneImages
from vitreous.engine.searches.local import (
    LocalPoseEstimates,
    Neighbourhood,
    SliceSums,
    joined_bests,
    local_expectation,
    no_local_estimates,
)
from vitreous.engine.searches.prior import PlacePrior
from vitreous.engine.shards import Shards, ShardSums, placed
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.ops.threads import in_rounds, workers_on
from vitreous.reconstruct.accumulator import (
    Accumulator,
    empty_accumulator,
    insert,
    symmetrised,
)

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
            self.matrices.index_copy(0, index, there.matrices.to(self.matrices)),
            self.origins.index_copy(0, index, there.origins.to(self.origins)),
        )

    def moved(self, index: Int[Tensor, " m"], best: LocalPoseEstimates) -> PoseMatrices:
        """The same with some particles where they were found."""
        return self.replaced(index, PoseMatrices(best.matrices, best.origins))


@dataclass(frozen=True)
class LocalResult:
    """What a local pass found, in the order of the particles given.

    Attributes
    ----------
    best : LocalPoseEstimates
        On the host; its origins are whole ones, not beside the former.
    sums : Accumulator or None
    residual : tensor (groups, shells)
        Expected squared residual at a frequency, summed over the group's particles.
    count : tensor (groups,)
    fit : tensor (groups, 2)
        Sums over the group's particles of ``best.product`` and ``best.power``.
    """

    best: LocalPoseEstimates
    sums: Accumulator | None
    residual: Float[Tensor, "g shells"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]


@dataclass(frozen=True)
class _Sums:
    """Sums of a pass over some particles, as :class:`LocalResult` has them."""

    cubes: Accumulator
    residual: Float[Tensor, "g shells"]

    def add(self, other: _Sums) -> None:
        self.cubes.add(other.cubes)
        self.residual.add_(other.residual)

    def tensors(self) -> list[Tensor]:
        return [self.cubes.data, self.cubes.weight, self.residual]


def _no_sums(maps: int, shells: int, groups: int, device: torch.device) -> _Sums:
    cubes = empty_accumulator(maps, shells + 1, PADDING, device)
    return _Sums(cubes, torch.zeros(groups, shells, device=device))


def local_pass(
    maps: Float[Tensor, "k n n n"],
    images: PlaneImages,
    index: Int[Tensor, " b"],
    posed: PoseMatrices,
    noise: Float[Tensor, "g shells"],
    around: Neighbourhood,
    operators: Float[Tensor, "s 3 3"],
    class_priors: Float[Tensor, " k"],
    shells: int,
    *,
    prior: PlacePrior | None = None,
    accumulate: bool = True,
) -> LocalResult:
    """Search the neighbourhoods of some particles' places.

    Parameters
    ----------
    maps : tensor (maps, n, n, n)
    index : integer tensor (particles,)
        Rows of ``images``.
    posed : PoseMatrices
        Of these particles.
    noise : tensor (groups, shells)
        Expected noise power at a frequency.
    operators : tensor (operators, 3, 3)
        Point group.
    class_priors : tensor (maps,)
        Prior probability of each map.
    shells : int
        Shells used.
    prior : PlacePrior, optional
        Of these particles' places, working pixels.
    accumulate : bool
        Whether to make the sums of the M-step.
    """
    device, box = maps.device, maps.shape[-1]
    plane = images.plane.inner(shells)
    cube = map_to_cube(maps, shells + 1, PADDING)
    log_prior = class_priors.clamp(min=1e-6).log()
    groups, present, around = images.group[index], posed.to(device), around.to(device)
    held, shards = None if prior is None else prior.to(device), images.shards
    size = max(1, _SAMPLES // (len(plane.points) * around.orientations))
    batches = batches_of_shards(shards, index, groups, size)

    def search(
        batch: tuple[int, Int[Tensor, " m"]],
    ) -> tuple[LocalPoseEstimates, SliceSums | None]:
        _, member = batch
        samples, ctf = images.at(index[member], plane)
        return local_expectation(
            cube,
            plane.points,
            2 / plane.per_sample(noise[int(groups[member[0]])]),  # both Friedel halves
            samples * shift_phase(plane.points, present.origins[member], box),
            ctf,
            present.matrices[member],
            around,
            box,
            log_prior.expand(len(member), -1),
            place_prior=None if held is None else held.at(member),
            accumulate=accumulate,
        )

    sums = ShardSums(shards, partial(_no_sums, len(maps), shells, len(noise), device))
    found, results = [], in_rounds(search, batches, workers_on(device))
    for (shard, member), (estimates, part) in zip(batches, results, strict=True):
        found.append((member, estimates))
        if part is not None:
            total = sums.of(shard)
            total.residual[int(groups[member[0]])] += plane.mean(part.residual)
            # Each sample stands for both Friedel halves, which are joined at last.
            data, weight = part.data / 2, part.weight / 2
            axes, cores = part.matrices[:, :2], workers_on(device)
            insert(total.cubes, plane.points, axes, data, weight, cores)
    made, residual = None, torch.zeros(len(noise), shells, device=device)
    if accumulate:
        whole = sums.total()
        whole.cubes.complete()
        made, residual = symmetrised(whole.cubes, operators), whole.residual
    best = placed(shards, index, found, no_local_estimates(len(index), len(maps)))
    best = best.moved(posed.origins)
    fits = torch.stack([best.product, best.power], dim=1)
    return LocalResult(
        best,
        made,
        residual,
        torch.bincount(groups, minlength=len(noise)).to(noise),
        fits.new_zeros(len(noise), 2).index_add_(0, groups, fits).to(noise),
    )


def pass_by_class(
    search: Callable[[list[int], Int[Tensor, " m"]], LocalResult],
    index: Int[Tensor, " b"],
    only: Int[Tensor, " b"],
    maps: int,
) -> LocalResult:
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
    return LocalResult(
        joined_bests([part.best for part in parts]).at(torch.cat(order).argsort()),
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


def batches_of(groups: Int[Tensor, " b"], size: int) -> list[Int[Tensor, " m"]]:
    """Members of one optics group each, a few at a time."""
    return [
        part
        for number in groups.unique()
        for part in torch.nonzero(groups == number)[:, 0].split(size)
    ]


def batches_of_shards(
    shards: Shards, index: Int[Tensor, " b"], groups: Int[Tensor, " b"], size: int
) -> list[tuple[int, Int[Tensor, " m"]]]:
    """Each of this rank's shards and the places of its particles, as :func:`batches_of` has them.

    Parameters
    ----------
    shards : Shards
    index, groups : integer tensors (particles,)
        Rows of the particles, and their optics groups.
    size : int
        Most particles of a batch.
    """
    return [
        (shard, some[part])
        for shard, some in shards.members(index)
        for part in batches_of(groups[some], size)
    ]
