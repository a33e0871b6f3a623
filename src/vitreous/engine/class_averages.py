"""Class averages between passes: sums on rings, what solves them, and the images they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.polar import from_polar, polar_matrix, to_polar
from vitreous.imaging.project import shift_phase

_FLOOR = 0.05
"""Least signal of a ring, over the noise of the average: one that is empty may yet fill."""


_ROUNDS = 3
"""Rounds of the way from rings to pixels: what is left of an image is then below 1 %."""


@dataclass(frozen=True)
class ClassSums:
    """What a pass adds to the M-step, on rings.

    Attributes
    ----------
    data : complex tensor (classes, rings, half)
        Sum of posterior * CTF * image / noise, turned and shifted back; the noise is that of the
        masked images, so that what it leaves here has the power ``weight``.
    weight : tensor (classes, rings, half)
        Sum of posterior * CTF^2 / noise.
    residual : tensor (groups, rings)
        Expected squared residual at a frequency, summed over the group's particles.
    count : tensor (groups,)
        Particles seen of each optics group.
    fit : tensor (groups, 2)
        Expected product of images and averages, and power of the averages, over the noise's.
    """

    data: Complex[Tensor, "k rings half"]
    weight: Float[Tensor, "k rings half"]
    residual: Float[Tensor, "g rings"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]

    def add(self, other: ClassSums) -> None:
        """Add another's to these, in place."""
        for own, more in zip(self.tensors(), other.tensors(), strict=True):
            own.add_(more)

    def tensors(self) -> list[Tensor]:
        """All that is added."""
        return [self.data, self.weight, self.residual, self.count, self.fit]


def no_class_sums(
    shape: tuple[int, int, int], rings: int, groups: int, device: torch.device
) -> ClassSums:
    """Sums of nothing; ``rings`` are those that a pass uses."""
    return ClassSums(
        torch.zeros(shape, dtype=torch.complex64, device=device),
        torch.zeros(shape, device=device),
        torch.zeros(groups, rings, device=device),
        torch.zeros(groups, device=device),
        torch.zeros(groups, 2, device=device),
    )


def signal_power(
    data: Complex[Tensor, "k rings half"], weight: Float[Tensor, "k rings half"], rings: int
) -> Float[Tensor, "k rings"]:
    """Power of each average on each ring, as that of its unregularised ring less the noise's.

    No ring has less than a part of the
    noise that its average has, and none beyond ``rings`` has any.
    """
    information = weight.mean(dim=2)
    found = (data.abs() ** 2).mean(dim=2) - information
    squares = (weight**2).mean(dim=2).clamp(min=1e-20)
    power = torch.maximum(found / squares, _FLOOR / information.clamp(min=1e-20))
    power[:, rings:] = 0
    return power


def averaged(
    data: Complex[Tensor, "k rings half"],
    weight: Float[Tensor, "k rings half"],
    prior: Float[Tensor, "k rings"],
) -> Complex[Tensor, "k rings half"]:
    """Averages that the sums give under a prior power; 0 where that is 0.

    The Wiener filter of Scheres, J. Mol. Biol. 415, 406 (2012), equation 8, ring by ring.
    """
    tau2 = prior[:, :, None]
    return data * tau2 / (weight * tau2 + 1)


@dataclass(frozen=True)
class Pixels:
    """How class averages come from rings to pixels of the working box, and back.

    Attributes
    ----------
    frame : Frame
    device : torch.device
    """

    frame: Frame
    device: torch.device

    @cached_property
    def _matrix(self) -> Float[Tensor, "q p"]:
        return polar_matrix(self.frame.box, self.frame.polar, device=self.device)

    @cached_property
    def mask(self) -> Float[Tensor, "b b"]:
        """The soft circular mask."""
        radius, edge = self.frame.mask_radius, self.frame.mask_edge
        return soft_sphere(self.frame.box, radius, edge, 2, self.device)

    def nearly(self, averages: Complex[Tensor, "k rings half"]) -> Float[Tensor, "k b b"]:
        """Masked images right but for some per cent, at a small part of the cost."""
        return from_polar(averages, self.frame.polar, self._matrix) * self.mask

    def images(self, averages: Complex[Tensor, "k rings half"]) -> Float[Tensor, "k b b"]:
        """Masked images whose transforms have these rings, or the nearest to them."""
        found, polar = self.nearly(averages), self.frame.polar
        for _ in range(_ROUNDS - 1):  # the rings' areas alone do not make the inverse quite
            rest = averages - to_polar(found, polar, self._matrix)
            found = (found + from_polar(rest, polar, self._matrix)) * self.mask
        return found

    def rings(self, images: Float[Tensor, "k b b"]) -> Complex[Tensor, "k rings half"]:
        """Rings of images."""
        return to_polar(images, self.frame.polar, self._matrix)


def centre_of_density(images: Float[Tensor, "k b b"]) -> Float[Tensor, "k 2"]:
    """Centre of mass of the positive density, (x, y) pixels from the box centre."""
    density = images.clamp(min=0)
    axis = torch.arange(images.shape[-1], device=images.device) - images.shape[-1] // 2
    mass = density.sum(dim=(1, 2)).clamp(min=1e-20)
    by_x, by_y = (density.sum(dim=dim) @ axis.to(density) / mass for dim in (1, 2))
    return torch.stack([by_x, by_y], dim=1)


def shifted(
    data: Complex[Tensor, "k rings half"], shift: Float[Tensor, "k 2"], frame: Frame
) -> Complex[Tensor, "k rings half"]:
    """Ring samples of images moved by ``shift`` (x, y) pixels."""
    return data * shift_phase(frame.polar.points(data.device), shift, frame.box)
