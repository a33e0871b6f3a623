"""From a particle table to ring samples in memory: read, normalise, crop, mask, transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.errors import InputError
from vitreous.jobs.config.shared import CtfOptions
from vitreous.kernels.angular import thinned
from vitreous.math.fourier import good_box, resample
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

_FEW = 100
"""Particles below which a resolution means little."""

READ_BATCH = 512
"""Images read and transformed at once."""


@dataclass(frozen=True)
class Frame:
    """The box that a search works in: the stack's field of view on as few pixels as needed.

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
    """

    box: int
    pixel_size: float
    mask_radius: float
    mask_edge: float
    polar: PolarGrid

    @property
    def field(self) -> float:
        """Width of the field of view, angstrom."""
        return self.box * self.pixel_size

    def rings_at(self, resolution: float) -> int:
        """Rings needed for ``resolution`` (angstrom), of those there are."""
        return int(min(max(round(self.field / resolution), 4), self.polar.rings))


@dataclass(frozen=True)
class RingImages:
    """All particles on rings.

    Attributes
    ----------
    polar : PolarGrid
    samples : complex tensor (particles, rings, half)
    ctf : tensor (particles, rings, half)
    group : integer tensor (particles,)
        Index of each particle's optics group.
    mask_share : float
        Mean square of the mask: the share of the noise power that it lets through.
    """

    polar: PolarGrid
    samples: Complex[Tensor, "n rings half"]
    ctf: Float[Tensor, "n rings half"]
    group: Int[Tensor, " n"]
    mask_share: float

    def at(self, index: Tensor, polar: PolarGrid) -> tuple[Tensor, Tensor]:
        """Samples and CTFs of some particles on the inner rings of ``polar``."""
        rows = index.to(self.samples.device)
        samples, ctf = self.samples[rows, : polar.rings], self.ctf[rows, : polar.rings]
        return thinned(samples, ctf, self.polar, polar)


def working_frame(
    table: ParticleTable, mask_diameter: float, resolution: float, beyond: int = 0
) -> Frame:
    """Choose the working box for a resolution (angstrom) and some rings ``beyond`` it."""
    group = table.optics[0]
    field = group.box * group.pixel_size
    finest = min(g.box // 2 - 1 for g in table.optics)
    rings = min(max(round(field / resolution), 4) + beyond, finest)
    box = min(good_box(math.ceil(2.6 * (rings + 1))), group.box)
    pixel_size = field / box
    edge = max(2.0, 0.04 * box)
    radius = mask_diameter / 2 / pixel_size
    support = min(1.0, 2 * (radius + edge) / box)
    return Frame(box, pixel_size, radius, edge, polar_grid(rings, support))


def finer_frame(table: ParticleTable, frame: Frame, final_resolution: float) -> Frame:
    """Frame with the same mask for the last maps, finer than the search's final resolution."""
    diameter = 2 * frame.mask_radius * frame.pixel_size
    return working_frame(table, diameter, final_resolution / _FINER)


def few_particles(count: int) -> list[str]:
    """A warning where particles are too few for a resolution to mean much."""
    if count >= _FEW:
        return []
    return [f"{count} particles are fewer than {_FEW}: a resolution means little with so few."]


def check_one_field(table: ParticleTable) -> None:
    """Require all optics groups to see the same field of view.

    Groups may differ in pixel size and box, as Fourier cropping brings them to one grid, but
    only while box times pixel size agrees to one part in a thousand.
    """
    first = table.optics[0]
    for group in table.optics[1:]:
        ratio = group.box * group.pixel_size / (first.box * first.pixel_size)
        if abs(ratio - 1) > 1e-3:
            raise InputError(
                f"mixed pixel sizes: optics group {first.number} has box {first.box} at "
                f"{first.pixel_size:g} A/px ({first.box * first.pixel_size:g} A wide) but group "
                f"{group.number} has box {group.box} at {group.pixel_size:g} A/px "
                f"({group.box * group.pixel_size:g} A wide)",
                where=table.path,
                mend="re-extract or rescale the groups so that box times pixel size agrees, "
                "or run them apart",
            )


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
class MaskedBatch:
    """Some images of one optics group, ready to be transformed.

    Attributes
    ----------
    rows : integer array (images,)
        Of the table.
    images : tensor (images, box, box)
    optics : Optics
    mask_share : float
        Mean square of the mask.
    """

    rows: Int[np.ndarray, " n"]
    images: Float[Tensor, "n b b"]
    optics: Optics
    mask_share: float


def masked_images(
    table: ParticleTable, source: ImageSource, frame: Frame, on_event: OnEvent
) -> Iterator[MaskedBatch]:
    """Read every particle once, a batch at a time.

    Images are normalised outside the mask, cropped in Fourier space to the working box and
    multiplied by the soft circular mask.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge, ndim=2)
    share, done = float((mask**2).mean()), 0
    for number, group in enumerate(table.optics):
        radius = frame.mask_radius * frame.pixel_size / group.pixel_size
        rows = np.flatnonzero(table.group == number)
        for batch in np.array_split(rows, max(1, math.ceil(len(rows) / READ_BATCH))):
            images = normalise(torch.from_numpy(source.read(batch)), min(radius, group.box / 2 - 1))
            yield MaskedBatch(batch, resample(images, frame.box, 2) * mask, optics_of(group), share)
            done += len(batch)
            on_event({"event": "progress", "stage": "reading", "iteration": done, "of": len(table)})


def load_rings(
    table: ParticleTable,
    source: ImageSource,
    frame: Frame,
    device: torch.device,
    on_event: OnEvent,
    mode: CtfMode,
) -> RingImages:
    """Read every particle once and keep its ring samples and CTF.

    Images are masked and transformed exactly at the rings' samples.

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    polar, count, share = frame.polar, len(table), 1.0
    matrix = polar_matrix(frame.box, polar)
    points = polar.points() / frame.field
    samples = torch.empty(count, polar.rings, polar.half, dtype=torch.complex64)
    transfer = torch.ones(count, polar.rings, polar.half)
    for batch in masked_images(table, source, frame, on_event):
        share = batch.mask_share
        rings = to_polar(batch.images, polar, matrix)
        phase = aberration_phase(points, batch.optics)
        samples[batch.rows] = rings if phase is None else rings * phase
        if mode.ctf:
            transfer[batch.rows] = particle_ctf(table, batch.rows, batch.optics, points, mode)
    index = torch.from_numpy(table.group.astype(np.int64))
    return RingImages(polar, samples.to(device), transfer.to(device), index, share)
