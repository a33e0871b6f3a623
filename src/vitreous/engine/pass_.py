"""One pass of the search over some particles, and the map that follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.grid import RingSums, direction_points, expectation, references
from vitreous.engine.searches.posterior import PoseEstimates, no_estimates
from vitreous.engine.searches.tiles import Tiling
from vitreous.engine.shards import Shards, ShardSums, placed
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.polar import PolarGrid
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.math.so3 import OrientationGrid, neighbours, orientation_grid
from vitreous.math.symmetry import lattice_cosets, point_group
from vitreous.particles.loader import ahead
from vitreous.reconstruct.accumulator import (
    Accumulator,
    empty_accumulator,
    insert,
    symmetrised,
)
from vitreous.reconstruct.solve import map_power, shell_information, solve

PADDING = 2
"""Oversampling of the Fourier cubes, as RELION's default."""

GATHERED = 2048
"""Particles of one optics group that are copied together and searched."""

LEAST_SCALE = 0.2
"""Least contrast of an image or an optics group beside others; the greatest is its inverse: what
lies beyond is no particle."""

_TAU2_FUDGE = 4.0
"""Map power is multiplied by this before it serves as prior: RELION's T for classification."""


@dataclass(frozen=True)
class SamplingGrid:
    """Where a pass looks.

    Attributes
    ----------
    orientations : OrientationGrid
    shifts : tensor (shifts, 2)
        Working pixels.
    rings : int
        Rings used.
    allowed : bool tensor (particles, maps * directions), optional
        References to try for each particle; all by default.
    junk : tensor (particles,), optional
        Log-likelihood of each as junk, its prior odds included.
    """

    orientations: OrientationGrid
    shifts: Float[Tensor, "t 2"]
    rings: int
    allowed: Bool[Tensor, "b kd"] | None = None
    junk: Float[Tensor, " b"] | None = None


@dataclass(frozen=True)
class PassResult:
    """What a pass over some particles found.

    Attributes
    ----------
    best : PoseEstimates
        In the order of the particles given.
    sums : Accumulator or None
        Contribution to the M-step, Friedel mates joined.
    residual : tensor (groups, rings)
        Expected squared residual at a frequency, summed over the group's particles.
    count : tensor (groups,)
        Particles seen of each optics group.
    fit : tensor (groups, 2)
        Expected product of images and maps, and power of the maps, both over the noise's and
        summed over the group's particles.
    """

    best: PoseEstimates
    sums: Accumulator | None
    residual: Float[Tensor, "g rings"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]


@dataclass(frozen=True)
class _Sums:
    """Sums of a pass over some particles, as :class:`PassResult` has them."""

    cubes: Accumulator
    residual: Float[Tensor, "g rings"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]

    def add(self, other: _Sums) -> None:
        self.cubes.add(other.cubes)
        for own, more in zip(self.tensors()[2:], other.tensors()[2:], strict=True):
            own.add_(more)

    def tensors(self) -> list[Tensor]:
        return [self.cubes.data, self.cubes.weight, self.residual, self.count, self.fit]


def _no_sums(maps: int, rings: int, groups: int, device: torch.device) -> _Sums:
    return _Sums(
        empty_accumulator(maps, rings + 1, PADDING, device),
        torch.zeros(groups, rings, device=device),
        torch.zeros(groups, device=device),
        torch.zeros(groups, 2, device=device),
    )


def _insert_rings(
    total: Accumulator,
    sums: RingSums,
    places: SamplingGrid,
    polar: PolarGrid,
    noise: Float[Tensor, " rings"],
    cosets: Float[Tensor, "c 3 3"],
) -> None:
    """Put a batch's ring sums into the cube, with the mates that its lattice does not have."""
    maps, device = total.weight.shape[0], total.weight.device
    area = (polar.sample_area(device) / noise)[:, None]
    points = direction_points(places.orientations.directions, polar, device).reshape(-1, 3)

    data, weight = ((part * area).view(maps, 1, -1) for part in (sums.data, sums.weight))
    for turn in cosets.to(points):
        insert(total, points, turn.T[None], data, weight)


def search_pass(
    maps: Float[Tensor, "k n n n"],
    images: RingImages,
    frame: Frame,
    index: Int[Tensor, " b"],
    origins: Float[Tensor, "b 2"],
    noise: Float[Tensor, "g rings"],
    places: SamplingGrid,
    operators: Float[Tensor, "s 3 3"],
    class_priors: Float[Tensor, " k"],
    tiling: Tiling,
    *,
    similarity: float = 0.0,
    accumulate: bool = True,
) -> PassResult:
    """Search every orientation and shift for some particles.

    Parameters
    ----------
    maps : tensor (maps, n, n, n)
        In the working box.
    index : integer tensor (particles,)
        Rows of ``images``.
    origins : tensor (particles, 2)
        Shifts already applied (working pixels); ``places.shifts`` are tried round them.
    noise : tensor (groups, rings)
        Expected noise power at a frequency.
    operators : tensor (operators, 3, 3)
        Point group; ``places.orientations`` cover its asymmetric unit.
    class_priors : tensor (maps,)
        Prior probability of each map.
    tiling : Tiling
    similarity : float
        Class similarity.
    accumulate : bool
        Whether to make the sums of the M-step.
    """
    polar = frame.polar.inner(places.rings)
    device, shards = maps.device, images.shards
    cube = map_to_cube(maps, places.rings + 1, PADDING)
    refs = references(cube, places.orientations, polar)
    directions = len(places.orientations.directions)
    log_prior = (class_priors.clamp(min=1e-6) / directions).log().repeat_interleave(directions)
    lattice, cosets = lattice_cosets(operators)
    sums = ShardSums(shards, partial(_no_sums, len(maps), places.rings, len(noise), device))
    found: list[tuple[Tensor, PoseEstimates]] = []
    gathered = ahead(
        portions(shards, index, images.group), lambda portion: images.at(index[portion[2]], polar)
    )
    for (shard, number, member), (samples, ctf) in gathered:
        centring = shift_phase(polar.points(device), origins[member], frame.box)
        spectrum = noise[number, : places.rings]
        best, part = expectation(
            refs,
            samples * centring,
            ctf,
            spectrum,
            places.shifts,
            frame.box,
            log_prior.to(device),
            tiling=tiling,
            allowed=None if places.allowed is None else places.allowed[member.to(device)],
            junk=None if places.junk is None else places.junk[member.to(device)],
            similarity=similarity,
            accumulate=accumulate,
        )
        found.append((member, best))
        if part is not None:
            total = sums.of(shard)
            total.count[number] += part.count
            total.residual[number] += part.residual
            weight = polar.radii(device) / spectrum
            total.fit[number] += torch.stack([part.product, part.power]) @ weight
            _insert_rings(total.cubes, part, places, polar, spectrum, cosets)
    blank = no_estimates(len(index), len(maps), len(log_prior), device)
    best = placed(shards, index, found, blank)
    whole = sums.total() if accumulate else _no_sums(0, places.rings, len(noise), device)
    made = None
    if accumulate:
        whole.cubes.complete()
        made = symmetrised(whole.cubes, lattice)
    return PassResult(best, made, whole.residual, whole.count, whole.fit)


def portions(
    shards: Shards, index: Int[Tensor, " b"], groups: Int[Tensor, " n"]
) -> Iterator[tuple[int, int, Tensor]]:
    """Shard, optics group and places of every portion of particles that is gathered at once."""
    for shard, some in shards.members(index):
        for number, part in _gathered(groups[index[some]]):
            yield shard, number, some[part]


def _gathered(groups: Int[Tensor, " b"]) -> Iterator[tuple[int, Tensor]]:
    """Optics group and members of every portion that is gathered at once."""
    for number in groups.unique().tolist():
        for member in torch.nonzero(groups == number)[:, 0].split(GATHERED):
            yield number, member


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


class Residuals(Protocol):
    """What a pass tells of the noise."""

    @property
    def residual(self) -> Float[Tensor, "g rings"]:
        """Expected squared residual at a frequency, summed over the group's particles."""

    @property
    def count(self) -> Float[Tensor, " g"]:
        """Particles seen of each optics group."""

    @property
    def fit(self) -> Float[Tensor, "g 2"]:
        """Expected product of images and maps, and power of the maps, over the noise's."""


def renewed_noise(
    noise: Float[Tensor, "g rings"], result: Residuals, mask_share: float, rate: float
) -> Float[Tensor, "g rings"]:
    """Noise spectra moved towards the residuals of a pass, on the rings it used.

    The mask removes noise power in proportion to its mean square, so the residual is divided by
    that share: the spectrum is that of the unmasked images.
    """
    rings = result.residual.shape[1]
    renewed = noise.clone()
    for group in torch.nonzero(result.count)[:, 0].tolist():
        found = result.residual[group] / (result.count[group] * mask_share)
        found = torch.maximum(found, 0.05 * noise[group, :rings])
        # The group's pixels may not hold the last rings: nothing is left there, nor was anything.
        found = torch.where(result.residual[group] == 0, noise[group, :rings], found)
        renewed[group, :rings] += rate * (found - noise[group, :rings])
    return renewed


def renewed_scale(
    scale: Float[Tensor, " g"], result: Residuals, rate: float
) -> Float[Tensor, " g"]:
    """Contrast of the optics groups moved towards what fits a pass's images best, 1 on the average.

    Least squares over the posterior: Scheres, J. Struct. Biol. 180, 519 (2012), section 2.2.
    """
    if len(scale) == 1:
        return scale
    product, power = result.fit.unbind(1)
    found = torch.where(power > 0, scale * product / power.clamp(min=1e-30), scale)
    moved = (scale + rate * (found - scale)).clamp(LEAST_SCALE, 1 / LEAST_SCALE)
    return moved * result.count.sum() / (moved * result.count).sum()


def prior_power(
    maps: Float[Tensor, "k n n n"],
    sums: Accumulator,
    rings: int,
    seen: int,
    tau2_fudge: float = _TAU2_FUDGE,
) -> Float[Tensor, "k s"]:
    """Signal power expected in each shell, ``tau2_fudge`` times that of the present maps.

    Shells beyond ``seen`` rings hold no density yet: they start from the last that does.  The
    floor, a tenth of the noise, keeps a shell that is empty now from staying so.
    """
    power = tau2_fudge * map_power(maps, rings + 2).to(sums.weight.device)
    power[:, seen:] = power[:, max(seen - 1, 0), None]
    information = shell_information(sums, rings + 2)
    return torch.maximum(power, 0.1 / information.clamp(min=1e-20))


def power_beyond_noise(sums: Accumulator, box: int, rings: int) -> Float[Tensor, "k s"]:
    """Signal power in each shell, as the power of the unregularised maps less that of the noise.

    The floor, a hundredth of the noise, keeps shells without signal finite.
    """
    noise = 1 / shell_information(sums, rings + 2).clamp(min=1e-20)
    power = map_power(solve(sums, None, box, rings), rings + 2).to(noise)
    return torch.maximum(power - noise, 0.01 * noise)


def signal_scale(
    maps: Float[Tensor, "k n n n"], images: RingImages, frame: Frame, rings: int, share: float
) -> float:
    """Factor that gives slices a share of the images' power on the innermost rings."""
    polar = frame.polar.inner(rings)
    grid = orientation_grid(1, point_group("C1"))
    cube = map_to_cube(maps.to(images.samples.device), rings + 1, PADDING)
    slices = references(cube, grid, polar)
    some = torch.arange(min(500, len(images.group)))
    samples, ctf = images.at(some, polar)
    expected = slices.power[:, 0, :rings, 0].mean(0)  # frequency 0 comes first
    expected = expected * (ctf**2).mean(dim=(0, 2))
    found = (samples.abs() ** 2).mean(dim=(0, 2))
    return float((share * found[:4].sum() / expected[:4].sum().clamp(min=1e-30)).sqrt())


def constrained(
    maps: Float[Tensor, "k n n n"], frame: Frame, solvent_flatten: bool
) -> Float[Tensor, "k n n n"]:
    """Maps with the solvent masked off and negative density removed, if asked for."""
    if not solvent_flatten:
        return maps
    return maps.clamp(min=0) * _solvent_mask(frame, maps.device)


@lru_cache(maxsize=2)
def _solvent_mask(frame: Frame, device: torch.device) -> Float[Tensor, "n n n"]:
    return soft_sphere(frame.box, frame.mask_radius, frame.mask_edge, 3, device)


def solved(
    sums: Accumulator,
    prior: Float[Tensor, "k s"] | None,
    frame: Frame,
    rings: int,
    solvent_flatten: bool,
) -> Float[Tensor, "k n n n"]:
    """Maps that the sums give, constrained."""
    return constrained(solve(sums, prior, frame.box, rings), frame, solvent_flatten)


def centre_of_mass(
    maps: Float[Tensor, "k n n n"], operators: Float[Tensor, "s 3 3"]
) -> Float[Tensor, "k 3"]:
    """Centre of the positive density, (x, y, z) pixels from the box centre.

    Only what the point group leaves in place counts: an axis must not be moved off.
    """
    box = maps.shape[-1]
    axis = torch.arange(box, device=maps.device, dtype=maps.dtype) - box // 2
    weight = maps.clamp(min=0)
    total = weight.sum(dim=(1, 2, 3)).clamp(min=1e-20)
    centre = torch.stack(
        [(weight.sum(dim=dims) * axis).sum(-1) / total for dims in ((1, 2), (1, 3), (2, 3))], dim=-1
    )
    return centre @ operators.to(centre).mean(dim=0).T


def moved(sums: Accumulator, shift: Float[Tensor, "k 3"], box: int) -> Accumulator:
    """Sums of the maps moved by ``shift`` (x, y, z) pixels."""
    side = sums.side
    axis = (torch.arange(side, device=sums.weight.device) - side // 2) / sums.padding
    step = -2 * torch.pi / box
    x, y, z = (torch.exp(1j * step * shift[:, d, None] * axis) for d in range(3))
    phase = z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, side // 2 :]
    return Accumulator(sums.data * phase.to(sums.data.dtype), sums.weight, sums.padding)
