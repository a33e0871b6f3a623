"""What images on rings and on half-planes share: samples that are kept, CTFs that are made anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.comm import exchanged, ranks
from vitreous.engine.images import OnEvent
from vitreous.engine.reader import ImageReader, TransferFunctions, Transform
from vitreous.engine.shards import Shards, gather_all
from vitreous.particles.loader import Room, TransformCache


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


def read_transforms(
    reader: ImageReader,
    shape: tuple[int, ...],
    transform: Callable[[int], Transform],
    power_of: Callable[[Complex[Tensor, "b ..."]], Float[Tensor, "b shells"]],
    device: torch.device,
    room: Room,
    on_event: OnEvent,
) -> tuple[TransformCache, Float[Tensor, "n shells"], Shards]:
    """Read every particle once, and keep its transform as far as there is room.

    Parameters
    ----------
    reader : ImageReader
    shape : tuple of int
        Of one transform.
    transform : callable
        From the number of an optics group, what its images are transformed by.
    power_of : callable
        Mean power on rings or shells of some transforms.
    device, room, on_event

    Returns
    -------
    TransformCache
    tensor (particles, shells)
        Their power, on the device.
    Shards
        How passes over them are divided.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    make, count = reader.transformed(shape, transform), len(reader.group)
    spread = Shards.of(count)
    shards = spread if room.spread else Shards(count)
    kept = TransformCache(shards.own_rows, shape, make, room, device)
    # Where each rank keeps all of them, each reads its share and has the others from other ranks.
    read = spread if all(exchanged([kept.holds_all] * ranks().size)) else shards
    power = torch.zeros(count, reader.frame.polar.rings)
    for rows, values in reader.loaded(make, read.own_rows, kept, on_event):
        power[torch.from_numpy(rows)] = power_of(values)
    gather_all(read, power)
    if read is not shards:
        gather_all(read, kept.held)
    return kept, power.to(device), shards


def _first_noise(power: Float[Tensor, "g rings"]) -> Float[Tensor, "g rings"]:
    """Power of the images as the first guess of their noise.

    A group without images gets the others' mean.  On rings that a group's pixels do not hold, where
    its CTFs are 0 and the noise counts for nothing, it is only kept finite and positive.
    """
    seen = power.isfinite().all(dim=1)
    power = torch.where(seen[:, None], power, power[seen].mean(dim=0))
    return torch.where(power > 0, power, power.amax(dim=1, keepdim=True).clamp(min=1e-12))
