"""One pass of expectation and accumulation over a batch of images on rings.

Tiles of a few images keep the block of scores in the processor's cache; nothing larger than
[in-plane angles x references x tile x shifts] ever exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from vitreous.kernels.angular import (
    AngularBasis,
    analyse_images,
    analyse_real,
    angular_basis,
    backproject,
    correlation_operand,
    psi_matrix,
    real_samples,
    ring_inner_products,
    ring_samples,
    scores,
)
from vitreous.math.so3 import OrientationGrid
from vitreous.physics.polar import PolarGrid
from vitreous.physics.project import FourierCube, read_cube, shift_phase
from vitreous.search.posterior import Best, among, joined, posterior

TILE_SCORES = 3_000_000
"""Scores in a tile, about 12 MB: measured best on a processor, between cache misses and the
overhead of calls."""

_PRUNED_COLUMNS = 100
"""Images times shifts in a tile whose references are pruned: few, so as to share references."""


@dataclass(frozen=True)
class References:
    """Slices of one or several maps along every direction, as angular coefficients.

    Attributes
    ----------
    polar : PolarGrid
    bases : list of AngularBasis
        Even and odd frequencies.
    slices : list of tensors (residues, slots, 2, rings, maps * directions)
        Coefficients of the slices, by parity.
    power : tensor (residues, slots, 2, rings, maps * directions)
        Even coefficients of the slices' squared moduli.
    maps : int
    n_psi : int
    """

    polar: PolarGrid
    bases: list[AngularBasis]
    slices: list[Tensor]
    power: Tensor
    maps: int
    n_psi: int


@dataclass(frozen=True)
class Operands:
    """Left operands of the score products, and the prior, of some references.

    Attributes
    ----------
    cross : list of tensors (residues, 2 * references, inner)
        For the inner products with images, by parity.
    norm : tensor (residues, 2 * references, inner)
        For the slices' power under squared CTFs.
    log_prior : tensor (references,)
    """

    cross: list[Tensor]
    norm: Tensor
    log_prior: Tensor

    def among(self, chosen: Tensor) -> Operands:
        """Those of some references only."""
        rows = torch.cat([chosen, chosen + len(self.log_prior)])
        return Operands(
            [part[:, rows] for part in self.cross], self.norm[:, rows], self.log_prior[chosen]
        )


@dataclass(frozen=True)
class RingSums:
    """What a batch contributes to the M-step, still on rings.

    Attributes
    ----------
    data : complex tensor (half, rings, maps * directions)
        Sum of posterior * CTF * image, turned and shifted back.
    weight : tensor (half, rings, maps * directions)
        Sum of posterior * CTF^2.
    residual : tensor (rings,)
        Mean over the rings of the expected squared residual, summed over images.
    """

    data: Complex[Tensor, "half rings d"]
    weight: Float[Tensor, "half rings d"]
    residual: Float[Tensor, " rings"]


def direction_points(
    directions: Float[Tensor, "d 3 3"], polar: PolarGrid, device: torch.device
) -> Float[Tensor, "half rings d 3"]:
    """Points of the volume that the rings of every direction (at psi = 0) fall on."""
    plane = directions[:, :, :2].to(device=device, dtype=torch.float32)
    return torch.einsum("rhj,dij->hrdi", polar.points(device), plane)


def references(cube: FourierCube, orientations: OrientationGrid, polar: PolarGrid) -> References:
    """Slice every map of ``cube`` along every direction of a grid."""
    device = cube.data.device
    points = direction_points(orientations.directions, polar, device)
    values = read_cube(cube, points.reshape(-1, 3))
    maps = values.shape[0]
    samples = values.view(maps, *points.shape[:3]).permute(1, 2, 0, 3).flatten(2)
    n_psi = orientations.n_psi
    bases = [angular_basis(polar, n_psi, parity, device) for parity in (0, 1)]
    power = analyse_real(samples.abs() ** 2, bases[0])
    return References(polar, bases, analyse_images(samples, bases), power, maps, n_psi)


@dataclass(frozen=True)
class Turns:
    """Matrices from residues' products to scores at the in-plane angles, and back.

    Attributes
    ----------
    on, back : tensors (psi, residues * 2) and its transpose
        Of both parities, side by side.
    even_on, even_back : tensors
        Of the even one alone.
    """

    on: Tensor
    back: Tensor
    even_on: Tensor
    even_back: Tensor


def turns_for(refs: References) -> Turns:
    """Matrices for the in-plane angles that references were made for."""
    even, odd = (psi_matrix(basis, refs.n_psi) for basis in refs.bases)
    both = torch.cat([even, odd], dim=1)
    return Turns(both, both.T.contiguous(), even, even.T.contiguous())


def operands_for(refs: References, noise: Tensor, log_prior: Tensor) -> Operands:
    """Operands of all references, under a noise spectrum."""
    weight = 2 * math.pi * refs.polar.radii(noise.device) / noise
    cross = [
        correlation_operand(part, weight, basis)
        for part, basis in zip(refs.slices, refs.bases, strict=True)
    ]
    return Operands(cross, correlation_operand(refs.power, -0.5 * weight, refs.bases[0]), log_prior)


def tile_size(refs: References, count: int, n_shifts: int, tile_scores: int, pruned: bool) -> int:
    """Images in a tile."""
    size = tile_scores // (refs.n_psi * count * n_shifts)
    return max(1, min(size, _PRUNED_COLUMNS // n_shifts) if pruned else size)


def tile_spectra(
    image: Tensor, contrast: Tensor, phases: Tensor, bases: list[AngularBasis]
) -> tuple[list[Tensor], Tensor]:
    """Angular coefficients of CTF times image at every shift, and of the squared CTF."""
    weighted = (image * contrast).permute(2, 1, 0)
    centred = weighted[..., None] * phases[:, :, None, :]
    squared = analyse_real((contrast**2).permute(2, 1, 0), bases[0])
    return analyse_images(centred.flatten(2), bases), squared


def tile_log_weight(
    operands: Operands, spectra: list[Tensor], squared: Tensor, turns: Turns
) -> Float[Tensor, "p d n t"]:
    """Log-likelihood plus log prior of every place, for the images of a tile."""
    cross = scores(operands.cross, spectra, turns.on)
    norm = scores([operands.norm], [squared], turns.even_on) + operands.log_prior[:, None]
    return cross.view(*norm.shape, -1).add_(norm[..., None])


def expectation(
    refs: References,
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    noise: Float[Tensor, " rings"],
    shifts: Float[Tensor, "t 2"],
    box: int,
    log_prior: Float[Tensor, " d"],
    *,
    tile_scores: int = TILE_SCORES,
    allowed: Bool[Tensor, "n d"] | None = None,
    accumulate: bool = True,
) -> tuple[Best, RingSums | None]:
    """Posterior of every image over all maps, directions, in-plane angles and shifts.

    Parameters
    ----------
    refs : References
    images : tensor (images, rings, half)
        Ring samples of one optics group, already moved to their present origins.
    ctf : tensor (images, rings, half)
    noise : tensor (rings,)
        Expected power of the noise at a frequency.
    shifts : tensor (shifts, 2)
        Shifts tried, pixels of ``box``.
    box : int
    log_prior : tensor (maps * directions,)
    tile_scores : int
        Scores held at once.
    allowed : bool tensor (images, maps * directions), optional
        References that need to be tried.  A tile of images tries the union of its own, so images
        with similar ones should be neighbours.
    accumulate : bool
        Whether to make the sums of the M-step.

    Returns
    -------
    best : Best
    sums : RingSums or None

    Notes
    -----
    The formula is that of :func:`vitreous.search.score.reference_log_likelihood`.
    """
    polar, device = refs.polar, images.device
    operands, turns = operands_for(refs, noise, log_prior), turns_for(refs)
    phases = shift_phase(polar.points(device), shifts.to(device), box).permute(2, 1, 0)
    chosen = torch.arange(len(log_prior), device=device)
    data = [torch.zeros_like(part) for part in refs.slices]
    weight = torch.zeros_like(refs.power)
    found = []
    for part in torch.arange(len(images), device=device).split(
        tile_size(refs, len(log_prior), len(shifts), tile_scores, allowed is not None)
    ):
        if allowed is not None:
            chosen = torch.nonzero(allowed[part].any(dim=0))[:, 0]
        spectra, squared = tile_spectra(images[part], ctf[part], phases, refs.bases)
        some = operands if allowed is None else operands.among(chosen)
        log_weight = tile_log_weight(some, spectra, squared, turns)
        map_of = torch.div(chosen, len(log_prior) // refs.maps, rounding_mode="floor")
        probability, best = posterior(log_weight, map_of, refs.maps)
        found.append(among(best, chosen, len(log_prior)))
        if not accumulate:
            continue
        sums = backproject(probability.flatten(2), spectra, turns.back, refs.bases)
        sums += backproject(probability.sum(-1), [squared], turns.even_back, refs.bases[:1])
        for total, new in zip([*data, weight], sums, strict=True):
            if allowed is None:
                total.add_(new)
            else:
                total.index_add_(-1, chosen, new)

    if not accumulate:
        return joined(found), None
    residual = (
        (images.abs() ** 2).mean(dim=2).sum(dim=0)
        - 2 * ring_inner_products(data, refs.slices, refs.bases)
        + ring_inner_products([weight], [refs.power], refs.bases[:1])
    )
    samples = ring_samples(data, refs.bases)
    return joined(found), RingSums(samples, real_samples(weight, refs.bases[0]), residual)
