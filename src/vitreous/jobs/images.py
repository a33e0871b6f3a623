"""From a particle table to ring samples in memory: read, normalise, crop, mask, transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.jobs.config.shared import CtfOptions
from vitreous.kernels.angular import thinned
from vitreous.math.fourier import good_box, resample
from vitreous.particles.grid import Grid
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.stack import ImageSource, normalise
from vitreous.particles.table import ParticleTable
from vitreous.physics.ctf import Defocus, Optics, beam_tilt_phase, contrast_transfer
from vitreous.physics.masks import soft_sphere
from vitreous.physics.polar import PolarGrid, polar_grid, polar_matrix, to_polar

OnEvent = Callable[[Mapping[str, Any]], None]

BEYOND = 10
"""Rings kept beyond the final resolution: the iterations do not use them, but the passes over all
particles do."""

_FINER = 2.5
"""The last maps may be this many times finer than the search's final resolution."""

_SAME_FIELD = 1e-6
"""Relative difference between fields of view that comes from rounding."""

_FEW = 100
"""Particles below which a resolution means little."""

READ_BATCH = 512
"""Images read and transformed at once."""


@dataclass(frozen=True)
class Frame:
    """The box that a search works in: the maps' field of view on as few pixels as needed.

    Attributes
    ----------
    box : int
        Pixels of the working box.
    pixel_size : float
        Its pixel size, angstrom.
    mask_radius : float
        Radius of the circular mask, working pixels.
    mask_edge : float
        Width of its soft edge, working pixels.
    polar : PolarGrid
        Rings out to the final resolution, and some beyond it for the last map.
    grid : Grid
        Of the job's maps, which this box stands for: the same field of view.
    """

    box: int
    pixel_size: float
    mask_radius: float
    mask_edge: float
    polar: PolarGrid
    grid: Grid

    @property
    def field(self) -> float:
        """Width of the field of view, angstrom."""
        return self.box * self.pixel_size

    @property
    def mask_share(self) -> float:
        """Mean square of the mask: the share of the noise power that it lets through."""
        return float((soft_sphere(self.box, self.mask_radius, self.mask_edge, ndim=2) ** 2).mean())

    def rings_at(self, resolution: float) -> int:
        """Rings needed for ``resolution`` (angstrom), of those there are."""
        return int(min(max(round(self.field / resolution), 4), self.polar.rings))


@dataclass(frozen=True)
class RingImages:
    """All particles on rings, on the device that searches them.

    Attributes
    ----------
    polar : PolarGrid
    samples : complex tensor (particles, rings, half)
    ctf : tensor (particles, rings, half)
    group : integer tensor (particles,)
        Index of each particle's optics group, on the host.
    mask_share : float
        Mean square of the mask: the share of the noise power that it lets through.
    scale : tensor (particles,), optional
        Of the particles' contrast, put into their CTFs; on the host.
    """

    polar: PolarGrid
    samples: Complex[Tensor, "n rings half"]
    ctf: Float[Tensor, "n rings half"]
    group: Int[Tensor, " n"]
    mask_share: float
    scale: Float[Tensor, " n"] | None = None

    def at(self, index: Tensor, polar: PolarGrid) -> tuple[Tensor, Tensor]:
        """Samples and CTFs of some particles on the inner rings of ``polar``."""
        rows = index.to(self.samples.device)
        samples, ctf = self.samples[rows, : polar.rings], self.ctf[rows, : polar.rings]
        if self.scale is not None:
            ctf = ctf * self.scale[index].to(ctf)[:, None, None]
        return thinned(samples, ctf, self.polar, polar)

    def with_group_scales(self, scale: Float[Tensor, " g"]) -> RingImages:
        """The same with the contrast of their optics groups; as they are, if there is one alone."""
        return replace(self, scale=scale.cpu()[self.group]) if len(scale) > 1 else self


def first_noise(power: Float[Tensor, "g rings"]) -> Float[Tensor, "g rings"]:
    """Power of the images as the first guess of their noise.

    A group without images gets the others' mean.  On rings that a group's pixels do not hold, where
    its CTFs are 0 and the noise counts for nothing, it is only kept finite and positive.
    """
    seen = power.isfinite().all(dim=1)
    power = torch.where(seen[:, None], power, power[seen].mean(dim=0))
    return torch.where(power > 0, power, power.amax(dim=1, keepdim=True).clamp(min=1e-12))


def working_frame(grid: Grid, mask_diameter: float, resolution: float, beyond: int = 0) -> Frame:
    """Choose the working box for a resolution (angstrom) and some rings ``beyond`` it."""
    rings = min(max(round(grid.field / resolution), 4) + beyond, grid.box // 2 - 1)
    box = _box_for(rings, grid.box)
    pixel_size = grid.field / box
    edge = max(2.0, 0.04 * box)
    radius = mask_diameter / 2 / pixel_size
    support = min(1.0, 2 * (radius + edge) / box)
    return Frame(box, pixel_size, radius, edge, polar_grid(rings, support), grid)


def _box_for(rings: int, most: int) -> int:
    """Pixels for so many rings, and room for what a mask blurs them by."""
    return min(good_box(math.ceil(2.6 * (rings + 1))), most)


def finer_frame(frame: Frame, final_resolution: float) -> Frame:
    """Frame with the same mask for the last maps, finer than the search's final resolution."""
    diameter = 2 * frame.mask_radius * frame.pixel_size
    return working_frame(frame.grid, diameter, final_resolution / _FINER)


def few_particles(count: int) -> list[str]:
    """A warning where particles are too few for a resolution to mean much."""
    if count >= _FEW:
        return []
    return [f"{count} particles are fewer than {_FEW}: a resolution means little with so few."]


def optics_of(group: OpticsGroup) -> Optics:
    """What the CTF needs of an optics group."""
    return Optics(
        group.voltage,
        group.cs,
        group.amplitude_contrast,
        group.beam_tilt,
        group.mag_matrix,
        group.odd_zernike,
        group.even_zernike,
    )


def defocus_of(
    table: ParticleTable, rows: Int[np.ndarray, " n"], *, phase_flipped: bool = False
) -> Defocus:
    """What the CTF needs of some particles, of a table that has it.

    Parameters
    ----------
    table : ParticleTable
    rows : int array
    phase_flipped : bool
        Take the phases of all images as flipped, whatever the table says, but for those that were
        multiplied by their CTF.
    """
    state = table.state.take(rows)
    columns = (table.defocus_u, table.defocus_v, table.defocus_angle, table.phase_shift)
    flipped = (state.flipped | phase_flipped) & ~state.premultiplied
    u, v, angle, phase_shift = (torch.from_numpy(np.asarray(c)[rows]).float() for c in columns)
    return Defocus(
        u,
        v,
        angle,
        phase_shift,
        scale=None if state.scale is None else torch.from_numpy(state.scale).float(),
        bfactor=None if state.bfactor is None else torch.from_numpy(state.bfactor).float(),
        flipped=torch.from_numpy(flipped) if flipped.any() else None,
        premultiplied=torch.from_numpy(state.premultiplied) if state.premultiplied.any() else None,
    )


@dataclass(frozen=True)
class CtfMode:
    """What the images' CTFs are taken to be.

    Attributes
    ----------
    ctf : bool
        Correct for it at all.
    phase_flipped : bool
        The images' phases were flipped already.
    ignore_until_first_peak : bool
        Take it as one up to its first maximum.
    """

    ctf: bool = True
    phase_flipped: bool = False
    ignore_until_first_peak: bool = False

    @classmethod
    def of(cls, options: CtfOptions) -> CtfMode:
        """As a job's options say."""
        return cls(options.ctf, options.phase_flipped, options.ignore_ctf_until_first_peak)


def particle_ctf(
    table: ParticleTable, rows: np.ndarray, optics: Optics, points: Tensor, mode: CtfMode
) -> Tensor:
    """CTF of some particles at frequencies (x, y) in 1/angstrom; one without CTF columns."""
    if table.defocus_u is None:
        return torch.ones(len(rows), *points.shape[:-1])
    defocus = defocus_of(table, rows, phase_flipped=mode.phase_flipped)
    return contrast_transfer(
        points, defocus, optics, ignore_until_first_peak=mode.ignore_until_first_peak
    )


def aberration_phase(points: Tensor, optics: Optics) -> Tensor | None:
    """Factor that takes an optics group's antisymmetric aberrations off; None without any."""
    return beam_tilt_phase(points, optics).conj() if optics.turns_phases else None


@dataclass(frozen=True)
class GroupBox:
    """Working box of an optics group: its own field of view on as few pixels as needed.

    Attributes
    ----------
    box : int
        Pixels.
    steps : float
        Its frequency steps in one of the frame's: its field of view over the frame's.
    rings : int
        Rings of the frame that its images' pixels hold.
    mask : tensor (box, box)
        The frame's, in angstrom.
    """

    box: int
    steps: float
    rings: int
    mask: Float[Tensor, "b b"]


def group_box(group: OpticsGroup, frame: Frame) -> GroupBox:
    """How a group's images come to a frame."""
    steps = group.box * group.pixel_size / frame.field
    if math.isclose(steps, 1.0, rel_tol=_SAME_FIELD):
        box, pixel, steps = frame.box, frame.pixel_size, 1.0
    else:
        box = _box_for(math.ceil(frame.polar.rings * steps), group.box)
        pixel = group.box * group.pixel_size / box
    scale = frame.pixel_size / pixel
    mask = soft_sphere(box, frame.mask_radius * scale, frame.mask_edge * scale, ndim=2)
    held = math.floor((group.box // 2 - 1) / steps + _SAME_FIELD)
    return GroupBox(box, steps, min(held, frame.polar.rings), mask)


@dataclass(frozen=True)
class MaskedGroup:
    """Images of one optics group, ready to be transformed.

    Attributes
    ----------
    own : GroupBox
    optics : Optics
    batches : iterator of (integer array (images,), tensor (images, box, box))
        Rows of the table, and their images in the group's own field of view.
    """

    own: GroupBox
    optics: Optics
    batches: Iterator[tuple[Int[np.ndarray, " n"], Float[Tensor, "n b b"]]]


def masked_images(
    table: ParticleTable, source: ImageSource, frame: Frame, on_event: OnEvent
) -> Iterator[MaskedGroup]:
    """Read every particle once, an optics group after the other and a batch at a time.

    Images are normalised outside the mask, cropped in Fourier space to their group's working box
    and multiplied by the soft circular mask.  In noise of standard deviation 1 the same density
    is fainter, the wider the field of view: transforms at the frame's frequencies are to be
    multiplied by ``own.steps``, which gives density the same strength in all groups, and masked
    noise the power that it has in the frame's field.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    done = 0

    def masked(number: int, own: GroupBox) -> Iterator[tuple[np.ndarray, Tensor]]:
        nonlocal done
        group = table.optics[number]
        radius = frame.mask_radius * frame.pixel_size / group.pixel_size
        rows = np.flatnonzero(table.group == number)
        for batch in np.array_split(rows, max(1, math.ceil(len(rows) / READ_BATCH))):
            images = normalise(torch.from_numpy(source.read(batch)), min(radius, group.box / 2 - 1))
            yield batch, resample(images, own.box, 2) * own.mask
            done += len(batch)
            on_event({"event": "progress", "stage": "reading", "iteration": done, "of": len(table)})

    for number in np.unique(table.group).tolist():
        group = table.optics[number]
        own = group_box(group, frame)
        yield MaskedGroup(own, optics_of(group), masked(number, own))


def load_rings(
    table: ParticleTable,
    source: ImageSource,
    frame: Frame,
    device: torch.device,
    on_event: OnEvent,
    mode: CtfMode,
) -> RingImages:
    """Read every particle once and keep its ring samples and CTF.

    Images are masked and transformed exactly at the rings' samples.  On rings that a group's pixels
    do not hold, samples and CTFs are 0: its images say nothing there.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    polar, count = frame.polar, len(table)
    samples = torch.zeros(count, polar.rings, polar.half, dtype=torch.complex64)
    transfer = torch.zeros(count, polar.rings, polar.half)
    for group in masked_images(table, source, frame, on_event):
        own, optics = group.own, group.optics
        held = PolarGrid(polar.n_angles, polar.bands[: own.rings])
        matrix, points = polar_matrix(own.box, held, own.steps), held.points() / frame.field
        phase = aberration_phase(points, optics)
        for rows, images in group.batches:
            rings = to_polar(images, held, matrix) * own.steps
            samples[rows, : own.rings] = rings if phase is None else rings * phase
            transfer[rows, : own.rings] = (
                particle_ctf(table, rows, optics, points, mode) if mode.ctf else 1.0
            )
    index = torch.from_numpy(table.group.astype(np.int64))
    return RingImages(polar, samples.to(device), transfer.to(device), index, frame.mask_share)
