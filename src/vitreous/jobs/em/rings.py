"""Particles as Fourier coefficients on rings: what a search of all orientations reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.jobs.images import (
    CtfMode,
    Frame,
    ImageReader,
    OnEvent,
    TransferFunctions,
    Transform,
    aberration_phase,
)
from vitreous.kernels.angular import thinned
from vitreous.particles.loader import Room, TransformCache
from vitreous.particles.stack import ImageSource
from vitreous.particles.table import ParticleTable
from vitreous.physics.polar import PolarGrid, polar_matrix, to_polar


@dataclass(frozen=True)
class RingImages:
    """All particles on rings; their samples may lie on a disk, their CTFs are made when asked for.

    Attributes
    ----------
    polar : PolarGrid
    samples : TransformCache
        Rows of (rings, half).
    transfer : TransferFunctions
    power : tensor (particles, rings)
        Mean power of each masked image's samples on a ring.
    group : integer tensor (particles,)
        Index of each particle's optics group.
    mask_share : float
        Mean square of the mask: the share of the noise power that it lets through.
    scale : tensor (particles,), optional
        Of the particles' contrast, put into their CTFs.
    """

    polar: PolarGrid
    samples: TransformCache
    transfer: TransferFunctions
    power: Float[Tensor, "n rings"]
    group: Int[Tensor, " n"]
    mask_share: float
    scale: Float[Tensor, " n"] | None = None

    def at(self, index: Int[Tensor, " b"], polar: PolarGrid) -> tuple[Tensor, Tensor]:
        """Samples and CTFs of some particles on the inner rings of ``polar``."""
        samples = self.samples.at(index)[:, : polar.rings]
        count = polar.rings * self.polar.half
        ctf = self.transfer.at(index, count).view(len(index), polar.rings, self.polar.half)
        if self.scale is not None:
            ctf = ctf * self.scale[index].to(ctf)[:, None, None]
        return thinned(samples, ctf, self.polar, polar)

    def with_group_scales(self, scale: Float[Tensor, " g"]) -> RingImages:
        """The same with the contrast of their optics groups; as they are, if there is one alone."""
        return replace(self, scale=scale.cpu()[self.group]) if len(scale) > 1 else self


def load_rings(
    table: ParticleTable,
    source: ImageSource,
    frame: Frame,
    device: torch.device,
    on_event: OnEvent,
    mode: CtfMode,
    room: Room | None = None,
) -> RingImages:
    """Read every particle once, and keep its ring samples as far as there is room.

    Images are masked and transformed exactly at the rings' samples.  On rings that a group's pixels
    do not hold, samples and CTFs are 0: its images say nothing there.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    polar, reader = frame.polar, ImageReader(table, source, frame)
    make = reader.transformed((polar.rings, polar.half), lambda number: _to_rings(reader, number))
    kept = TransformCache(len(table), (polar.rings, polar.half), make, room or Room(), device)
    power = torch.zeros(len(table), polar.rings)
    for rows, values in reader.loaded(make, kept, on_event):
        power[torch.from_numpy(rows)] = (values.abs() ** 2).mean(dim=2)
    points = (polar.points() / frame.field).reshape(-1, 2).to(device)
    ring = torch.arange(polar.rings).repeat_interleave(polar.half)
    transfer = TransferFunctions(reader, points, ring, mode)
    return RingImages(polar, kept, transfer, power.to(device), reader.group, frame.mask_share)


def _to_rings(reader: ImageReader, number: int) -> Transform:
    """How masked images of an optics group come to the rings that their pixels hold."""
    frame, own = reader.frame, reader.boxes[number]
    held = PolarGrid(frame.polar.n_angles, frame.polar.bands[: own.rings])
    matrix = polar_matrix(own.box, held, own.steps)
    phase = aberration_phase(held.points() / frame.field, reader.optics(number))

    def transform(images: Float[Tensor, "n b b"]) -> Tensor:
        rings = to_polar(images, held, matrix) * own.steps
        return rings if phase is None else rings * phase

    return transform
