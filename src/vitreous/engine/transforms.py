"""What images on rings and on half-planes share: samples that are kept, CTFs that are made anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.reader import TransferFunctions
from vitreous.engine.shards import Shards
from vitreous.particles.loader import TransformCache


@dataclass(frozen=True)
class ImageTransforms:
    """All particles, masked and normalised, in Fourier space.

    Attributes
    ----------
    samples : TransformCache
        On the device that searches them, but for those that memory does not hold.
    transfer : TransferFunctions
    shell_power : tensor (particles, shells)
        Mean power of each masked image's samples on a ring or shell.
    group : integer tensor (particles,)
        Index of each particle's optics group, on the host.
    mask_share : float
        Mean square of the mask: the share of the noise power that it lets through.
    scale : tensor (particles,) or None
        Of the particles' contrast, put into their CTFs; on the host.
    shards : Shards
        How passes over them are divided.
    """

    samples: TransformCache
    transfer: TransferFunctions
    shell_power: Float[Tensor, "n shells"]
    group: Int[Tensor, " n"]
    mask_share: float
    scale: Float[Tensor, " n"] | None
    shards: Shards

    def ctf(self, index: Int[Tensor, " b"], count: int) -> Float[Tensor, "b count"]:
        """CTFs of some particles at the first samples."""
        ctf = self.transfer.at(index, count)
        return ctf if self.scale is None else ctf * self.scale[index].to(ctf)[:, None]

    def power(self, groups: int) -> Float[Tensor, "g shells"]:
        """Mean power of each optics group's unmasked images: the first guess of their noise."""
        where = self.group.to(self.shell_power.device)
        means = [self.shell_power[where == number].mean(dim=0) for number in range(groups)]
        return _first_noise(torch.stack(means) / self.mask_share)

    def spread(self) -> Self:
        """The same with passes over them shared out among the ranks."""
        return replace(self, shards=Shards.of(len(self.group)))

    def with_group_scales(self, scale: Float[Tensor, " g"]) -> Self:
        """The same with the contrast of their optics groups; as they are, if there is one alone."""
        return replace(self, scale=scale.cpu()[self.group]) if len(scale) > 1 else self


def _first_noise(power: Float[Tensor, "g rings"]) -> Float[Tensor, "g rings"]:
    """Power of the images as the first guess of their noise.

    A group without images gets the others' mean.  On rings that a group's pixels do not hold, where
    its CTFs are 0 and the noise counts for nothing, it is only kept finite and positive.
    """
    seen = power.isfinite().all(dim=1)
    power = torch.where(seen[:, None], power, power[seen].mean(dim=0))
    return torch.where(power > 0, power, power.amax(dim=1, keepdim=True).clamp(min=1e-12))
