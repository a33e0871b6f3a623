"""All particles as Fourier coefficients on the half-plane: what a search of single slices reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.images import CtfMode, Frame, GroupBox, OnEvent, aberration_phase
from vitreous.engine.reader import ImageReader, TransferFunctions, Transform
from vitreous.engine.transforms import ImageTransforms, read_transforms
from vitreous.imaging.project import image_frequencies
from vitreous.math.fourier import half_spectra, plane_frequencies
from vitreous.particles.loader import Room
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource


@dataclass(frozen=True)
class HalfPlane:
    """Frequencies of one of each pair of Friedel mates, from the innermost out.

    Attributes
    ----------
    points : tensor (samples, 2)
        (x, y) in steps of 1 / box, whole numbers.
    shell : integer tensor (samples,)
        Shell j holds the radii from j to j + 1.
    """

    points: Float[Tensor, "m 2"]
    shell: Int[Tensor, " m"]

    def to(self, device: torch.device) -> HalfPlane:
        """The same on another device."""
        return HalfPlane(self.points.to(device), self.shell.to(device))

    def inner(self, shells: int) -> HalfPlane:
        """The first ``shells`` shells only."""
        count = int((self.shell < shells).sum())
        return HalfPlane(self.points[:count], self.shell[:count])

    def per_sample(self, spectrum: Float[Tensor, " shells"]) -> Float[Tensor, " m"]:
        """Values given for every shell, for every sample."""
        return spectrum[self.shell]

    def mean(self, values: Float[Tensor, "*n m"]) -> Float[Tensor, "*n shells"]:
        """Means over the shells."""
        shells = int(self.shell[-1]) + 1
        count = torch.bincount(self.shell, minlength=shells).clamp(min=1)
        total = values.new_zeros(*values.shape[:-1], shells)
        return total.index_add_(-1, self.shell, values) / count


@dataclass(frozen=True)
class PlaneImages(ImageTransforms):
    """All particles on a half-plane: samples are rows of (samples,).

    Attributes
    ----------
    plane : HalfPlane
        On the device that searches them.
    """

    plane: HalfPlane

    def at(self, index: Int[Tensor, " b"], plane: HalfPlane) -> tuple[Tensor, Tensor]:
        """Samples and CTFs of some particles on the inner shells of ``plane``."""
        count = len(plane.points)
        return self.samples.at(index)[:, :count], self.ctf(index, count)


def half_plane(shells: int) -> HalfPlane:
    """Half-plane out to a number of shells, without frequency 0."""
    points = image_frequencies(2 * shells + 2).reshape(-1, 2)
    x, y = points.unbind(-1)
    radius = points.norm(dim=1)
    kept = ((x > 0) | ((x == 0) & (y > 0))) & (radius < shells)
    order = radius[kept].argsort(stable=True)
    return HalfPlane(points[kept][order], radius[kept][order].long())


def load_planes(
    table: ParticleSet,
    source: ImageSource,
    frame: Frame,
    device: torch.device,
    on_event: OnEvent,
    mode: CtfMode,
    room: Room | None = None,
) -> PlaneImages:
    """Read every particle of this rank once, and keep what there is room for within the last ring.

    On shells that a group's pixels do not hold samples and CTFs are 0: such images say nothing
    there.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    plane, reader = half_plane(frame.polar.rings), ImageReader(table, source, frame)
    kept, power, shards = read_transforms(
        reader,
        (len(plane.points),),
        lambda number: _to_plane(reader, plane, number),
        lambda samples: plane.mean(torch.view_as_real(samples).square().sum(-1)),
        device,
        room or Room(),
        on_event,
    )
    points = (plane.points / frame.field).to(device)
    transfer = TransferFunctions(reader, points, plane.shell, mode)
    own = kept, transfer, power, reader.group, frame.mask_share
    return PlaneImages(*own, None, shards, plane.to(device))


def _to_plane(reader: ImageReader, plane: HalfPlane, number: int) -> Transform:
    """How masked images of an optics group come to the shells that their pixels hold."""
    own = reader.boxes[number]
    held = plane.inner(own.rings)
    phase = aberration_phase(held.points / reader.frame.field, reader.optics(number))

    def transform(images: Float[Tensor, "n b b"]) -> Complex[Tensor, "n m"]:
        spectra = _spectra(images, own, held)
        return spectra if phase is None else spectra * phase

    return transform


def _spectra(
    images: Float[Tensor, "n b b"], own: GroupBox, plane: HalfPlane
) -> Complex[Tensor, "n m"]:
    """Transforms of a group's masked images at the frame's frequencies."""
    x, y = plane.points.long().unbind(-1)
    if own.steps == 1:
        return half_spectra(images)[:, y, x]
    shells = int(plane.shell[-1]) + 1
    return plane_frequencies(images, 2 * shells + 1, own.steps)[:, y + shells, x] * own.steps
