"""From a particle table to what a search reads: frame, masked images, CTFs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.jobs.config.shared import CtfOptions
from vitreous.math.fourier import good_box, resample
from vitreous.particles.grid import Grid
from vitreous.particles.loader import TransformCache
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.stack import ImageSource, normalise
from vitreous.particles.table import ParticleTable
from vitreous.physics.ctf import Defocus, Optics, beam_tilt_phase, contrast_transfer
from vitreous.physics.masks import soft_sphere
from vitreous.physics.polar import PolarGrid, polar_grid

OnEvent = Callable[[Mapping[str, Any]], None]

Transform = Callable[[Float[Tensor, "n b b"]], Complex[Tensor, "n ..."]]
"""From masked images to what is kept of them."""

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


def first_noise(power: Float[Tensor, "g rings"]) -> Float[Tensor, "g rings"]:
    """Power of the images as the first guess of their noise.

    A group without images gets the others' mean.  On rings that a group's pixels do not hold, where
    its CTFs are 0 and the noise counts for nothing, it is only kept finite and positive.
    """
    seen = power.isfinite().all(dim=1)
    power = torch.where(seen[:, None], power, power[seen].mean(dim=0))
    return torch.where(power > 0, power, power.amax(dim=1, keepdim=True).clamp(min=1e-12))


def group_means(
    power: Float[Tensor, "n shells"], group: Int[Tensor, " n"], groups: int
) -> Float[Tensor, "g shells"]:
    """Mean over the images of every optics group; not a number for one without images."""
    where = group.to(power.device)
    return torch.stack([power[where == number].mean(dim=0) for number in range(groups)])


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
        return torch.ones(len(rows), *points.shape[:-1], device=points.device)
    defocus = defocus_of(table, rows, phase_flipped=mode.phase_flipped).to(points.device)
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
class ImageReader:
    """Particles' images as a frame needs them: read, normalised, cropped and masked.

    Images are normalised outside the mask, cropped in Fourier space to their group's working box
    and multiplied by the soft circular mask.  In noise of standard deviation 1 the same density
    is fainter, the wider the field of view: transforms at the frame's frequencies are to be
    multiplied by the group's ``steps``, which gives density the same strength in all groups, and
    masked noise the power that it has in the frame's field.
    """

    table: ParticleTable
    source: ImageSource
    frame: Frame

    @cached_property
    def group(self) -> Int[Tensor, " n"]:
        """Index of each particle's optics group."""
        return torch.from_numpy(self.table.group.astype(np.int64))

    @cached_property
    def boxes(self) -> dict[int, GroupBox]:
        """How the images of every optics group come to the frame."""
        numbers = np.unique(self.table.group).tolist()
        return {number: group_box(self.table.optics[number], self.frame) for number in numbers}

    def optics(self, number: int) -> Optics:
        """What the CTF needs of an optics group."""
        return optics_of(self.table.optics[number])

    def batches(self, rows: Int[np.ndarray, " n"]) -> Iterator[tuple[int, Int[np.ndarray, " b"]]]:
        """Optics group of some of these rows, and which of them they are, a few at a time."""
        groups = self.table.group[rows]
        for number in np.unique(groups).tolist():
            own = np.flatnonzero(groups == number)
            for part in np.array_split(own, math.ceil(len(own) / READ_BATCH)):
                yield number, part

    def masked(self, number: int, rows: Int[np.ndarray, " b"]) -> Float[Tensor, "b m m"]:
        """Images of an optics group in its own working box.

        Raises
        ------
        InputError
            For an image that cannot be read or holds NaN or one value only, naming its row.
        """
        group, own = self.table.optics[number], self.boxes[number]
        radius = self.frame.mask_radius * self.frame.pixel_size / group.pixel_size
        images = torch.from_numpy(self.source.read(rows))
        return resample(normalise(images, min(radius, group.box / 2 - 1)), own.box, 2) * own.mask

    def transformed(
        self, shape: tuple[int, ...], transform_of: Callable[[int], Transform]
    ) -> Callable[[Int[np.ndarray, " n"]], Complex[Tensor, "n ..."]]:
        """What makes rows of this shape of any particles, given each optics group's transform.

        A transform may give the first part of a row alone: zeros follow.
        """
        ready = cache(transform_of)

        def make(rows: Int[np.ndarray, " n"]) -> Complex[Tensor, "n ..."]:
            out = torch.zeros(len(rows), *shape, dtype=torch.complex64)
            for number, part in self.batches(rows):
                made = ready(number)(self.masked(number, rows[part]))
                out[torch.from_numpy(part), : made.shape[1]] = made
            return out

        return make

    def loaded(
        self,
        make: Callable[[Int[np.ndarray, " n"]], Complex[Tensor, "n ..."]],
        kept: TransformCache,
        on_event: OnEvent,
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Complex[Tensor, "b ..."]]]:
        """Read every particle once: rows of the table and of numbers, which are kept, too."""
        count, done = len(self.table), 0
        for _, rows in self.batches(np.arange(count)):
            values = make(rows)
            kept.put(rows, values)
            yield rows, values
            done += len(rows)
            on_event({"event": "progress", "stage": "reading", "iteration": done, "of": count})


@dataclass(frozen=True)
class TransferFunctions:
    """CTFs of particles, made when they are asked for.

    Attributes
    ----------
    reader : ImageReader
    points : tensor (samples, 2)
        Frequencies (x, y), 1/angstrom, on the device that CTFs are made on.
    shell : integer tensor (samples,)
        Ring or shell of each sample, rising, on the host: the CTF is 0 where a group's pixels do
        not hold it.
    mode : CtfMode
    """

    reader: ImageReader
    points: Float[Tensor, "m 2"]
    shell: Int[Tensor, " m"]
    mode: CtfMode

    def at(self, index: Int[Tensor, " n"], count: int) -> Float[Tensor, "n c"]:
        """Of some particles at the first samples."""
        rows, shell = index.cpu().numpy(), self.shell[:count]
        out = torch.zeros(len(rows), count, device=self.points.device)
        for number, part in self.reader.batches(rows):
            held = int((shell < self.reader.boxes[number].rings).sum())
            where, optics = torch.from_numpy(part).to(out.device), self.reader.optics(number)
            if self.mode.ctf:
                out[where, :held] = particle_ctf(
                    self.reader.table, rows[part], optics, self.points[:held], self.mode
                )
            else:
                out[where, :held] = 1
        return out
