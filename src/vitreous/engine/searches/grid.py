"""One pass of expectation and accumulation over a batch of images on rings.

Nothing larger than [residues x images and shifts x references] of a tile ever exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from vitreous.engine.searches.posterior import PoseEstimates, best_of_maps
from vitreous.engine.searches.tiles import (
    Operands,
    TileSums,
    Tiling,
    in_tiles,
    tile_products,
    tile_spectra,
    tile_sums,
)
from vitreous.imaging.polar import PolarGrid
from vitreous.imaging.project import FourierCube, shift_phase
from vitreous.math.so3 import OrientationGrid
from vitreous.ops.angular import (
    AngularBasis,
    analyse,
    angular_basis,
    coefficients,
    correlation_operand,
    psi_matrix,
    real_samples,
    ring_inner_products,
    ring_samples,
    turned_back,
)
from vitreous.ops.cubes import read
from vitreous.ops.scratch import Scratch
from vitreous.ops.weights import weigh

_PRUNED_COLUMNS = 400
"""Images times shifts in a tile whose references are pruned: few, so as to share references."""

_SMALLEST_SHARE = 1e-4
"""Share of every image of a tile below which a map gets nothing of it."""

_LOG2_E = math.log2(math.e)


@dataclass(frozen=True)
class References:
    """Slices of one or several maps along every direction, as angular coefficients.

    Attributes
    ----------
    polar : PolarGrid
    bases : list of AngularBasis
        Even and odd frequencies.
    slices : list of tensors (maps * directions, residues, pairs, 2)
        Coefficients of the slices, by parity.
    power : tensor (maps * directions, residues, pairs, 2)
        Even coefficients of the slices' squared moduli.
    maps : int
    """

    polar: PolarGrid
    bases: list[AngularBasis]
    slices: list[Float[Tensor, "d _ _ 2"]]
    power: Float[Tensor, "d _ _ 2"]
    maps: int

    @property
    def n_psi(self) -> int:
        """Number of in-plane angles."""
        return self.bases[0].n_psi


@dataclass(frozen=True)
class Trial:
    """What images of one optics group are compared with.

    Attributes
    ----------
    references : References
    noise : tensor (rings,)
        Expected power of the noise at a frequency.
    shifts : tensor (shifts, 2)
        Shifts tried, pixels of ``box``.
    box : int
    log_prior : tensor (maps * directions,)
    tiling : Tiling
    similarity : float
        Class similarity, from 0 (none) to 1: see :func:`shares`.
    accumulate : bool
        Whether to make the sums of the M-step.
    """

    references: References
    noise: Float[Tensor, " rings"]
    shifts: Float[Tensor, "t 2"]
    box: int
    log_prior: Float[Tensor, " d"]
    tiling: Tiling
    similarity: float = 0.0
    accumulate: bool = True

    @property
    def scores_each(self) -> int:
        """Scores of an image: of all references, in-plane angles and shifts."""
        return self.references.n_psi * len(self.log_prior) * len(self.shifts)

    def phases(self, device: torch.device) -> Complex[Tensor, "t rings half"]:
        """What moves an image by each of the shifts."""
        return shift_phase(self.references.polar.points(device), self.shifts, self.box)


@dataclass(frozen=True)
class RingSums:
    """What a batch contributes to the M-step, still on rings.

    Attributes
    ----------
    data : complex tensor (maps * directions, rings, half)
        Sum of posterior * CTF * image, turned and shifted back.
    weight : tensor (maps * directions, rings, half)
        Sum of posterior * CTF^2.
    residual : tensor (rings,)
        Mean over the rings of the expected squared residual, summed over images.
    count : float
        Images, each by its probability to be a particle; the residual counts them alike.
    product, power : tensors (rings,)
        The same of the expected product of images and maps, and of the maps' power: the ratio of
        the two is the images' contrast beside the maps'.
    """

    data: Complex[Tensor, "d rings half"]
    weight: Float[Tensor, "d rings half"]
    residual: Float[Tensor, " rings"]
    count: Float[Tensor, ""]
    product: Float[Tensor, " rings"]
    power: Float[Tensor, " rings"]


def direction_points(
    directions: Float[Tensor, "d 3 3"], polar: PolarGrid, device: torch.device
) -> Float[Tensor, "d rings half 3"]:
    """Points of the volume that the rings of every direction (at psi = 0) fall on."""
    plane = directions[:, :, :2].to(device=device, dtype=torch.float32)
    return torch.einsum("rhj,dij->drhi", polar.points(device), plane)


def references(cube: FourierCube, orientations: OrientationGrid, polar: PolarGrid) -> References:
    """Slice every map of ``cube`` along every direction of a grid."""
    device = cube.data.device
    points = direction_points(orientations.directions, polar, device)
    values = read(cube, points.reshape(-1, 3))
    samples = values.view(-1, polar.rings, polar.half)
    bases = [angular_basis(polar, orientations.n_psi, parity, device) for parity in (0, 1)]
    power = coefficients(samples.abs() ** 2, bases[0])
    return References(polar, bases, analyse(samples, bases), power, cube.data.shape[0])


def operands_for(
    refs: References, noise: Tensor, log_prior: Tensor, dtype: torch.dtype
) -> Operands:
    """Operands of all references under a noise spectrum; scores come in powers of two."""
    weight = _LOG2_E * 2 * math.pi * refs.polar.radii(noise.device) / noise
    cross = [
        correlation_operand(part, weight, basis).to(dtype)
        for part, basis in zip(refs.slices, refs.bases, strict=True)
    ]
    norm = correlation_operand(refs.power, -0.5 * weight, refs.bases[0])
    return Operands(cross, norm, log_prior * _LOG2_E)


def shares(by_map: Float[Tensor, "n k"], similarity: float) -> Float[Tensor, "n k"]:
    """What each map gets of each image, classes being alike to the degree of ``similarity``.

    At 0 the posterior of the classes, at 1 the same for all: a class that explains few images yet
    still learns from all of them, and does not starve.
    """
    return (1 - similarity) * by_map + similarity / by_map.shape[1]


def expectation(
    trial: Trial,
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    allowed: Bool[Tensor, "n d"] | None = None,
    junk: Float[Tensor, " n"] | None = None,
) -> tuple[PoseEstimates, RingSums | None]:
    """Posterior of every image over all maps, directions, in-plane angles and shifts.

    Parameters
    ----------
    trial : Trial
    images : tensor (images, rings, half)
        Ring samples of one optics group, already moved to their present origins.
    ctf : tensor (images, rings, half)
    allowed : bool tensor (images, maps * directions), optional
        References that need to be tried.  A tile of images tries the union of its own.
    junk : tensor (images,), optional
        Log-likelihood of each image as junk over that as noise, with the prior odds of junk: what
        is junk adds nothing to the sums.

    Returns
    -------
    best : PoseEstimates
    sums : RingSums or None

    Notes
    -----
    The formula is that of :func:`vitreous.engine.searches.score.reference_log_likelihood`.
    """
    refs, device, count = trial.references, images.device, len(trial.log_prior)
    everything = operands_for(refs, trial.noise, trial.log_prior, trial.tiling.dtype)
    each_map = torch.arange(count, device=device).view(refs.maps, -1)
    whole = [everything.among(map_references) for map_references in each_map]
    on, phases = psi_matrix(refs.bases), trial.phases(device)

    def chosen_of(tile: Tensor, number: int) -> tuple[Tensor, Operands]:
        """References of a map that a tile tries; one at the least."""
        if allowed is None:
            return each_map[number], whole[number]
        wanted = allowed[tile].any(dim=0)[each_map[number]]
        chosen = each_map[number][wanted] if wanted.any() else each_map[number][:1]
        return chosen, everything.among(chosen)

    def search(tile: Tensor, scratch: Scratch, sums: TileSums) -> PoseEstimates:
        columns, squared = tile_spectra(images[tile], ctf[tile], phases, refs.bases, scratch)
        tried, weighed, weights = [], [], []
        for number in range(refs.maps):
            chosen, operands = chosen_of(tile, number)
            products = tile_products(
                operands, columns, squared, scratch, f"products of map {number}"
            )
            tried.append(chosen)
            weighed.append(weigh(*products, on, back=trial.accumulate))
            weights.append(products)
        best = best_of_maps(weighed, tried, count, None if junk is None else junk[tile])
        if not trial.accumulate:
            return best
        parts = shares(best.map_probability, trial.similarity).T * best.particle_probability
        for chosen, one, share, products in zip(tried, weighed, parts, weights, strict=True):
            if share.max() > _SMALLEST_SHARE:
                sums.add(*tile_sums(one, share, *products, columns, squared), chosen)
        return best

    shifts, scores_each, tiling = len(trial.shifts), trial.scores_each // refs.maps, trial.tiling
    if allowed is not None:
        tiling = tiling.at_most(_PRUNED_COLUMNS // shifts, scores_each)
    best, sums = in_tiles(search, len(images), scores_each, tiling, everything, allowed)
    if not trial.accumulate:
        return best, None
    return best, sums_on_rings(refs, images, best.particle_probability, sums)


def sums_on_rings(refs: References, images: Tensor, share: Tensor, sums: TileSums) -> RingSums:
    """Sums of tiles as ring samples, and the residuals that follow from them.

    ``share`` is each image's probability to be a particle.
    """
    rings = refs.polar.rings
    data = [turned_back(part, basis) for part, basis in zip(sums.data, refs.bases, strict=True)]
    weight = turned_back(sums.weight, refs.bases[0])
    product = ring_inner_products(data, refs.slices, refs.bases, rings)
    power = ring_inner_products([weight], [refs.power], refs.bases[:1], rings)
    residual = (share[:, None] * (images.abs() ** 2).mean(dim=2)).sum(dim=0) - 2 * product + power
    samples = ring_samples(data, refs.bases, rings)
    smoothed = real_samples(weight, refs.bases[0], rings)
    return RingSums(samples, smoothed, residual, share.sum(), product, power)
