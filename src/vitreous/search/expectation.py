"""One pass of expectation and accumulation over a batch of images on rings.

Tiles of a few images keep the block of scores in the processor's cache; nothing larger than
[in-plane angles x references x tile x shifts] ever exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
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
from vitreous.search.posterior import Best, joined, posterior

_TILE_SCORES = 3_000_000
"""Scores in a tile, about 12 MB: measured best between cache misses and call overhead."""


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


def expectation(
    refs: References,
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    noise: Float[Tensor, " rings"],
    shifts: Float[Tensor, "t 2"],
    box: int,
    log_prior: Float[Tensor, " d"],
    *,
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
    polar, bases, n_psi = refs.polar, refs.bases, refs.n_psi
    device = images.device
    ring_weight = 2 * math.pi * polar.radii(device) / noise
    operands = [
        correlation_operand(part, ring_weight, basis)
        for part, basis in zip(refs.slices, bases, strict=True)
    ]
    power_operand = correlation_operand(refs.power, -0.5 * ring_weight, bases[0])
    even_psi = psi_matrix(bases[0], n_psi)
    to_psi = torch.cat([even_psi, psi_matrix(bases[1], n_psi)], dim=1)
    from_psi, from_even_psi = to_psi.T.contiguous(), even_psi.T.contiguous()
    phases = shift_phase(polar.points(device), shifts.to(device), box).permute(2, 1, 0)
    count, n_shifts = operands[0].shape[1] // 2, len(shifts)

    data: list[Tensor] | None = None
    weight: Tensor | None = None
    found = []
    tile = max(1, _TILE_SCORES // (n_psi * count * n_shifts))
    for image, contrast in zip(images.split(tile), ctf.split(tile), strict=True):
        weighted = (image * contrast).permute(2, 1, 0)
        centred = weighted[..., None] * phases[:, :, None, :]
        spectra = analyse_images(centred.flatten(2), bases)
        squared = [analyse_real((contrast**2).permute(2, 1, 0), bases[0])]
        log_weight = scores(operands, spectra, to_psi).view(n_psi, count, -1, n_shifts)
        norm = scores([power_operand], squared, even_psi) + log_prior[:, None]
        probability, best = posterior(log_weight.add_(norm[..., None]), refs.maps)
        found.append(best)
        if not accumulate:
            continue
        part = backproject(probability.flatten(2), spectra, from_psi, bases)
        part_weight = backproject(probability.sum(-1), squared, from_even_psi, bases[:1])[0]
        data = part if data is None else [a.add_(b) for a, b in zip(data, part, strict=True)]
        weight = part_weight if weight is None else weight.add_(part_weight)

    if data is None or weight is None:
        return joined(found), None
    residual = (
        (images.abs() ** 2).mean(dim=2).sum(dim=0)
        - 2 * ring_inner_products(data, refs.slices, bases)
        + ring_inner_products([weight], [refs.power], bases[:1])
    )
    sums = RingSums(ring_samples(data, bases), real_samples(weight, bases[0]), residual)
    return joined(found), sums
