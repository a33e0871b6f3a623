"""Particles as Fourier coefficients on rings: what a search of all orientations reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.images import CtfMode, Frame, OnEvent, aberration_phase
from vitreous.engine.reader import ImageReader, TransferFunctions, Transform
from vitreous.engine.transforms import ImageTransforms, read_transforms
from vitreous.imaging.polar import PolarGrid
from vitreous.ops.angular import thinned
from vitreous.ops.polar import ring_transform
from vitreous.particles.loader import Room
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource


@dataclass(frozen=True)
class RingImages(ImageTransforms):
    """All particles on rings: samples are rows of (rings, half).

    Attributes
    ----------
    polar : PolarGrid
    """

    polar: PolarGrid

    def at(self, index: Int[Tensor, " b"], polar: PolarGrid) -> tuple[Tensor, Tensor]:
        """Samples and CTFs of some particles on the inner rings of ``polar``."""
        samples, half = self.samples.at(index)[:, : polar.rings], self.polar.half
        ctf = self.ctf(index, polar.rings * half).view(len(index), polar.rings, half)
        return thinned(samples, ctf, self.polar, polar)


def load_rings(
    table: ParticleSet,
    source: ImageSource,
    frame: Frame,
    device: torch.device,
    on_event: OnEvent,
    mode: CtfMode,
    room: Room | None = None,
) -> RingImages:
    """Read every particle of this rank once, and keep its ring samples as far as there is room.

    Images are masked and transformed exactly at the rings' samples.  On rings that a group's pixels
    do not hold, samples and CTFs are 0: its images say nothing there.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    polar, reader = frame.polar, ImageReader(table, source, frame)
    kept, power, shards = read_transforms(
        reader,
        (polar.rings, polar.half),
        lambda number: _to_rings(reader, number),
        lambda samples: (samples.abs() ** 2).mean(dim=2),
        device,
        room or Room(),
        on_event,
    )
    points = (polar.points() / frame.field).reshape(-1, 2).to(device)
    ring = torch.arange(polar.rings).repeat_interleave(polar.half)
    transfer = TransferFunctions(reader, points, ring, mode)
    own = kept, transfer, power, reader.group, frame.mask_share
    return RingImages(*own, None, shards, polar)


def _to_rings(reader: ImageReader, number: int) -> Transform:
    """How masked images of an optics group come to the rings that their pixels hold."""
    frame, own = reader.frame, reader.boxes[number]
    held = PolarGrid(frame.polar.n_angles, frame.polar.bands[: own.rings])
    to_rings = ring_transform(own.box, held, own.steps)
    phase = aberration_phase(held.points() / frame.field, reader.optics(number))

    def transform(images: Float[Tensor, "n b b"]) -> Tensor:
        rings = to_rings(images) * own.steps
        return rings if phase is None else rings * phase

    return transform
