"""All particles as Fourier coefficients on the half-plane: what a search of single slices reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.jobs.images import (
    CtfMode,
    Frame,
    GroupBox,
    OnEvent,
    aberration_phase,
    first_noise,
    masked_images,
    particle_ctf,
)
from vitreous.math.fourier import plane_frequencies, to_fourier
from vitreous.particles.stack import ImageSource
from vitreous.particles.table import ParticleTable
from vitreous.physics.project import image_frequencies


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

    def mean(self, values: Float[Tensor, " m"]) -> Float[Tensor, " shells"]:
        """Means over the shells."""
        shells = int(self.shell[-1]) + 1
        count = torch.bincount(self.shell, minlength=shells).clamp(min=1)
        return values.new_zeros(shells).index_add_(0, self.shell, values) / count


@dataclass(frozen=True)
class PlaneImages:
    """Masked, normalised particles in Fourier space, on the device that searches them.

    Attributes
    ----------
    plane : HalfPlane
    samples : complex tensor (particles, samples)
    ctf : tensor (particles, samples)
    group : integer tensor (particles,)
        Index of each particle's optics group, on the host.
    mask_share : float
        Mean square of the mask: the share of the noise power that it lets through.
    scale : tensor (particles,), optional
        Of the particles' contrast, put into their CTFs; on the host.
    """

    plane: HalfPlane
    samples: Complex[Tensor, "n m"]
    ctf: Float[Tensor, "n m"]
    group: Int[Tensor, " n"]
    mask_share: float
    scale: Float[Tensor, " n"] | None = None

    def at(self, index: Int[Tensor, " b"], plane: HalfPlane) -> tuple[Tensor, Tensor]:
        """Samples and CTFs of some particles on the inner shells of ``plane``."""
        rows, count = index.to(self.samples.device), len(plane.points)
        ctf = self.ctf[rows, :count]
        if self.scale is not None:
            ctf = ctf * self.scale[index].to(ctf)[:, None]
        return self.samples[rows, :count], ctf

    def power(self, groups: int) -> Float[Tensor, "g shells"]:
        """Mean power of each optics group's unmasked images: the first guess of their noise."""
        spectra = []
        for number in range(groups):
            member = (self.group == number).to(self.samples.device)
            squared = torch.view_as_real(self.samples[member]).square().sum(-1)
            spectra.append(self.plane.mean(squared.mean(dim=0)) / self.mask_share)
        return first_noise(torch.stack(spectra))

    def with_group_scales(self, scale: Float[Tensor, " g"]) -> PlaneImages:
        """The same with the contrast of their optics groups; as they are, if there is one alone."""
        return replace(self, scale=scale.cpu()[self.group]) if len(scale) > 1 else self


def half_plane(shells: int) -> HalfPlane:
    """Half-plane out to a number of shells, without frequency 0."""
    points = image_frequencies(2 * shells + 2).reshape(-1, 2)
    x, y = points.unbind(-1)
    radius = points.norm(dim=1)
    kept = ((x > 0) | ((x == 0) & (y > 0))) & (radius < shells)
    order = radius[kept].argsort(stable=True)
    return HalfPlane(points[kept][order], radius[kept][order].long())


def load_planes(
    table: ParticleTable,
    source: ImageSource,
    frame: Frame,
    device: torch.device,
    on_event: OnEvent,
    mode: CtfMode,
) -> PlaneImages:
    """Read every particle once and keep its coefficients and CTF out to the frame's last ring.

    On shells that a group's pixels do not hold both are 0: such images say nothing there.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    plane = half_plane(frame.polar.rings)
    samples = torch.zeros(len(table), len(plane.points), dtype=torch.complex64)
    transfer = torch.zeros(len(table), len(plane.points))
    for group in masked_images(table, source, frame, on_event):
        held, optics = plane.inner(group.own.rings), group.optics
        count, metric = len(held.points), held.points / frame.field
        phase = aberration_phase(metric, optics)
        for rows, images in group.batches:
            spectra = _spectra(images, group.own, held)
            samples[rows, :count] = spectra if phase is None else spectra * phase
            transfer[rows, :count] = (
                particle_ctf(table, rows, optics, metric, mode) if mode.ctf else 1.0
            )
    index = torch.from_numpy(table.group).long()
    moved = samples.to(device), transfer.to(device)
    return PlaneImages(plane.to(device), *moved, index, frame.mask_share)


def _spectra(
    images: Float[Tensor, "n b b"], own: GroupBox, plane: HalfPlane
) -> Complex[Tensor, "n m"]:
    """Transforms of a group's masked images at the frame's frequencies."""
    x, y = plane.points.long().unbind(-1)
    if own.steps == 1:
        middle = own.box // 2
        return to_fourier(images, 2)[:, y + middle, x + middle]
    shells = int(plane.shell[-1]) + 1
    return plane_frequencies(images, 2 * shells + 1, own.steps)[:, y + shells, x] * own.steps
