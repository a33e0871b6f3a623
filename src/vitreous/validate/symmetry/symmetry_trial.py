"""A map made ready to be tested for symmetry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.imaging.masks import soft_sphere
from vitreous.math.fourier import crop_or_pad, good_box, resample
from vitreous.validate.symmetry.angular_orders import Shells, shell_power, shells_of
from vitreous.validate.symmetry.axis_search import AxisTable, tabulate
from vitreous.validate.symmetry.noise_reference import NoiseReference, solvent_noise

_EDGE = 4.0
"""Pixels of the mask's soft edge."""

_COARSE_RADIUS, _LEAST_RADIUS, _GREATEST_RADIUS = 10, 4, 32
"""Shells of the search, and the fewest and most of a test: more cost much and tell little."""

_DISCERNIBLE = 0.25
"""Least share of signal in a shell that counts: an FSC of 1/7 between half-maps."""

_CLEAR = 0.5
"""Share of signal in the shells that show where a map's centre is."""

_REACHED = 0.95
"""Share of all say in the scores within the shell that counts as the finest."""

_FEWEST = 5.0
"""Resolution elements across a particle below which shape alone mimics symmetry."""


@dataclass(frozen=True)
class Trial:
    """A map made ready to be tested: its transforms on its device, all else on the host.

    Attributes
    ----------
    fine, coarse : Shells
        All shells tested, and the first of them for the search.
    total, varied : tensors (shells,)
        Power on each shell: all, and what differs from the shell's mean.
    share : tensor (shells,)
        Share of signal in the latter, 0 where it is too small to count.
    weights : tensor (shells,)
        Of each shell's products in all correlations.
    noise_reference : NoiseReference or None
        None where the noise is not known.
    noise : str
        Where it was measured: ``half-maps``, ``solvent`` or ``unknown``.
    table : AxisTable
        Of axes through the centre of the density.
    width, diameter : float
        Of box and mask, angstrom.
    """

    fine: Shells
    coarse: Shells
    total: Float[Tensor, " k"]
    varied: Float[Tensor, " k"]
    share: Float[Tensor, " k"]
    weights: Float[Tensor, " k"]
    noise_reference: NoiseReference | None
    noise: str
    table: AxisTable
    width: float
    diameter: float

    @property
    def say(self) -> Float[Tensor, " k"]:
        """Share of each shell in all correlations."""
        say = self.weights * self.varied
        return say / say.sum().clamp(min=1e-30)

    @property
    def values(self) -> Float[Tensor, " k"]:
        """Independent real values on each shell: what the mask's share of the box leaves."""
        shells = torch.arange(1, len(self.weights) + 1)
        return 4 * math.pi * shells**2 * (math.pi / 6 * (self.diameter / self.width) ** 3)

    @property
    def allowed(self) -> float:
        """Correlation of symmetry mates that the noise lets through."""
        return float(self.say @ self.share)

    @property
    def detail(self) -> float:
        """Share of the power that differs from the shells' means."""
        return float((self.weights @ self.varied) / self.power)

    @property
    def power(self) -> float:
        """All weighted power."""
        return max(float(self.weights @ self.total), 1e-30)

    @property
    def first(self) -> int:
        """Outermost shell of the coarsest map that shows more than a shape."""
        return min(math.ceil(_FEWEST * self.width / self.diameter), len(self.weights))

    @property
    def finest(self) -> int:
        """Outermost shell with much say."""
        return 1 + int((self.say.cumsum(0) < _REACHED).sum())


def _centre(volume: Float[Tensor, "n n n"], radius: int) -> Float[Tensor, " 3"]:
    """Centre of the density in the first shells, (x, y, z) pixels from the box centre."""
    box = volume.shape[-1]
    small = min(box, 2 * radius + 2)
    density = resample(volume, small, 3)
    density = density - density.mean()
    density = torch.where(density > 0.1 * density.max(), density, 0.0).double()
    axis = (torch.arange(small, device=volume.device) - small // 2) * (box / small)
    moments = [(density.sum(dims) * axis).sum() for dims in ((0, 1), (0, 2), (1, 2))]
    return (torch.stack(moments) / density.sum()).cpu()


def prepare(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    mask_diameter: float,
    resolution: float,
    halves: tuple[Float[Tensor, "n n n"], Float[Tensor, "n n n"]] | None = None,
) -> Trial:
    """Mask a map, measure its noise and read it about axes all over half a sphere.

    Parameters
    ----------
    volume : tensor (n, n, n)
    pixel_size, mask_diameter, resolution : float
        Angstrom.
    halves : pair of tensors (n, n, n), optional
        Half-maps of the same particle in the same place; without them the noise is measured
        outside the mask.
    """
    mask = soft_sphere(volume.shape[-1], mask_diameter / 2 / pixel_size, _EDGE, 3, volume.device)
    side = min(len(mask), good_box(math.ceil(mask_diameter / pixel_size + 2 * _EDGE)))
    wanted = int(side * pixel_size / resolution)
    radius = min(max(_LEAST_RADIUS, wanted), _GREATEST_RADIUS, side // 2 - 1)
    extent = min(1.0, mask_diameter / pixel_size / side)

    def shells(part: Float[Tensor, "n n n"], reach: int = radius) -> Shells:
        return shells_of(crop_or_pad(part, side, 3) * crop_or_pad(mask, side, 3), reach, extent)

    fine = shells(volume)
    noise_reference, noise = None, "unknown"
    if halves is not None:
        mean, half_difference = (halves[0] + halves[1]) / 2, (halves[0] - halves[1]) / 2
        noise_reference, noise = NoiseReference(shells(mean), shells(half_difference)), "half-maps"
    elif (solvent := solvent_noise(volume, mask, side)) is not None:
        noise_reference, noise = NoiseReference(fine, shells(solvent)), "solvent"

    def signal(centre: Float[Tensor, " 3"]) -> Float[Tensor, " k"]:
        share = torch.ones(radius) if noise_reference is None else noise_reference.shares(centre)
        return torch.where(share < _DISCERNIBLE, 0.0, share)

    clear = int((signal(torch.zeros(3)) > _CLEAR).long().cumprod(0).sum())
    centre = _centre(crop_or_pad(volume * mask, side, 3), min(max(clear, 2), _COARSE_RADIUS))
    total, varied = shell_power(fine, centre)
    share = signal(centre)
    # Half-way to whitening: in full it would give shells that a regularised reconstruction damped,
    # as it did not trust them, as much say as the others.
    weights = torch.arange(1, radius + 1) ** 2 * share / varied.clamp(min=1e-30).sqrt()
    coarse = fine if radius <= _COARSE_RADIUS else shells(volume, _COARSE_RADIUS)
    return Trial(
        fine=fine,
        coarse=coarse,
        total=total,
        varied=varied,
        share=share,
        weights=weights,
        noise_reference=noise_reference,
        noise=noise,
        table=tabulate(coarse, weights[: coarse.radius], centre),
        width=side * pixel_size,
        diameter=mask_diameter,
    )
