"""The box that a search works in, and what the CTFs of its images are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.shared import CtfOptions
from vitreous.imaging.ctf import Defocus, Optics, beam_tilt_phase, contrast_transfer
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.polar import PolarGrid, polar_grid
from vitreous.math.fourier import good_box
from vitreous.particles.grid import Grid
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet

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
    table: ParticleSet, rows: Int[np.ndarray, " n"], *, phase_flipped: bool = False
) -> Defocus:
    """What the CTF needs of some particles, of a table that has it.

    Parameters
    ----------
    table : ParticleSet
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
    table: ParticleSet, rows: np.ndarray, optics: Optics, points: Tensor, mode: CtfMode
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
