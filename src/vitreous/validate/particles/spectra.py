"""Spectra of a sample of images, and averages over them that know no orientations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.math.fourier import plane_frequencies


@dataclass(frozen=True)
class ImageSpectra:
    """Unitary, centred spectra of images on half of the Fourier plane.

    Attributes
    ----------
    samples : complex tensor (images, points)
    transfer : tensor (images, points)
        The CTF that the images are taken to carry.
    points : tensor (points, 2)
        Frequencies (x, y) in steps of 1 / field.
    field : float
        Width of the field of view, angstrom.
    """

    samples: Complex[Tensor, "n p"]
    transfer: Float[Tensor, "n p"]
    points: Float[Tensor, "p 2"]
    field: float

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    @property
    def radius(self) -> Float[Tensor, " p"]:
        """Distance of the points from zero frequency, in steps of 1 / field."""
        return self.points.norm(dim=1)

    def with_transfer(self, transfer: Float[Tensor, "n p"]) -> ImageSpectra:
        """The same images, taken to carry another CTF."""
        return replace(self, transfer=transfer)

    def some(self, images: slice) -> ImageSpectra:
        """Only some of the images."""
        return replace(self, samples=self.samples[images], transfer=self.transfer[images])

    def within(self, radius: float) -> ImageSpectra:
        """Only the points up to a radius, in steps of 1 / field."""
        near = self.radius <= radius
        return ImageSpectra(
            self.samples[:, near], self.transfer[:, near], self.points[near], self.field
        )


def half_plane(radius: float) -> Float[Tensor, "p 2"]:
    """Whole frequencies (x, y) up to a radius, one of each Friedel pair, zero left out."""
    axis = torch.arange(-math.floor(radius), math.floor(radius) + 1, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y], dim=-1).reshape(-1, 2)
    x, y = points.unbind(dim=1)
    return points[((x > 0) | ((x == 0) & (y > 0))) & (points.norm(dim=1) <= radius)]


def spectrum_at(
    images: Float[Tensor, "n b b"], points: Float[Tensor, "p 2"], steps: float = 1.0
) -> Complex[Tensor, "n p"]:
    """Transforms of centred images in an even box at whole frequencies (x >= 0, y) of a field.

    Unitary in that field, one frequency step of which has ``steps`` of the images' own: density
    is as strong there in images of any field in noise of standard deviation 1.
    """
    x, y = points.long().unbind(dim=1)
    if not math.isclose(steps, 1.0, rel_tol=1e-6):
        radius = int(points.abs().max())
        return plane_frequencies(images, 2 * radius + 1, steps)[:, y + radius, x] * steps
    corner = torch.fft.rfft2(images, norm="ortho")[:, y % images.shape[-1], x]
    # Half a box between corner and centre turns the sign of every other frequency.
    return corner * (1 - 2 * ((x + y) % 2))


def summed(
    values: Float[Tensor, "*n p"], bins: Int[Tensor, " p"], count: int
) -> Float[Tensor, "*n c"]:
    """Sums over the points of each bin, float64."""
    total = torch.zeros(*values.shape[:-1], count, dtype=torch.float64, device=values.device)
    return total.index_add_(-1, bins, values.double())


@dataclass(frozen=True)
class RadialSpectrum:
    """Average spectrum of the particles, turned every way.

    Attributes
    ----------
    frequency : float64 tensor (radii,)
        In steps of 1 / field; all are on the host.
    value : float64 tensor (radii,)
        Corrected for the CTF.
    error : float64 tensor (radii,)
        Standard error, from the scatter over the images.
    """

    frequency: Float[Tensor, " r"]
    value: Float[Tensor, " r"]
    error: Float[Tensor, " r"]


def radial_spectrum(spectra: ImageSpectra, radius: float) -> RadialSpectrum:
    """Least-squares average of images over the CTF, for every distance from zero frequency.

    In-plane angles being free, it is the transform of the particles' radial average about the box
    centre, which is real: the imaginary parts are noise.  Points are not binned: within a ring
    one step wide the transform of a particle as wide as half the box turns its sign.
    """
    near = spectra.within(radius)
    squared, bins = torch.unique((near.points**2).sum(dim=1).round().long(), return_inverse=True)
    product = near.samples.real * near.transfer
    sums = product.sum(dim=0)
    scatter = (product**2).sum(dim=0) - sums**2 / len(near)
    count = len(squared)
    weight = summed((near.transfer**2).sum(dim=0), bins, count).clamp(min=1e-12)
    return RadialSpectrum(
        squared.double().sqrt().cpu(),
        (summed(sums, bins, count) / weight).cpu(),
        (summed(scatter, bins, count).sqrt() / weight).cpu(),
    )
