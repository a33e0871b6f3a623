"""What stays the same throughout a 2D classification."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.classify2d import Class2dOptions
from vitreous.engine.class_averages import Pixels
from vitreous.engine.class_pass import ClassSearch, Given, InPlane, psi_count
from vitreous.engine.images import Frame
from vitreous.engine.searches.sampling import shift_grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_origins

_HELD_OUT, _MOST_HELD_OUT = 0.05, 1000
"""Share of the particles that no mini-batch sees, and the most of them: how well the averages
explain these tells whether they show anything."""


def held_out_count(particles: int) -> int:
    """How many of so many particles no mini-batch sees."""
    return min(int(_HELD_OUT * particles), _MOST_HELD_OUT)


def coarse_rings(options: Class2dOptions, frame: Frame) -> int:
    """Rings that angles and shifts at twice the steps are close enough for.

    Between two angles the edge of the mask moves by the detail of the last of them.
    """
    by_angle = frame.mask_radius * frame.pixel_size * math.radians(2 * options.angular_sampling)
    return frame.rings_at(max(by_angle, 4 * options.offset_step * frame.grid.pixel_size))


@dataclass(frozen=True)
class Class2dContext:
    """All that a classification goes by.

    Attributes
    ----------
    options : Class2dOptions
    table : ParticleSet
    search : ClassSearch
    """

    options: Class2dOptions
    table: ParticleSet
    search: ClassSearch

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.options.count(len(self.table))

    @cached_property
    def pixels(self) -> Pixels:
        """How averages come to pixels."""
        return Pixels(self.search.frame, self.search.device)

    @cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        """The particles in a random order; those held out come last."""
        return np.random.default_rng([self.options.seed, 2]).permutation(len(self.table))

    @property
    def held_out(self) -> Int[Tensor, " m"]:
        """Particles that no mini-batch sees, in the order of the table."""
        first = len(self.table) - held_out_count(len(self.table))
        return torch.from_numpy(np.sort(self.order[first:]))

    def batch(self, number: int, size: int) -> Int[Tensor, " b"]:
        """Particles of a mini-batch, in the order of the table: each batch goes on from the last.

        ``number`` counts the particles of the batches before it.
        """
        seen = len(self.table) - len(self.held_out)
        part = np.take(self.order[:seen], np.arange(number, number + min(size, seen)), mode="wrap")
        return torch.from_numpy(np.sort(part))

    def shifts(self, reach: float, step: float) -> Float[Tensor, "t 2"]:
        """Shift lattice given in pixels of the averages' grid, in working pixels."""
        frame = self.search.frame
        grid = shift_grid(reach, step) * (frame.grid.pixel_size / frame.pixel_size)
        return grid.to(self.search.device)

    def everywhere(self, rings: int) -> InPlane:
        """All angles and shifts, at twice the steps of the last pass."""
        options = self.options
        shifts = self.shifts(options.offset_range, 2 * options.offset_step)
        return InPlane(psi_count(2 * options.angular_sampling), shifts, rings, len(shifts))

    @property
    def coarse_rings(self) -> int:
        """Rings that are compared everywhere: :func:`coarse_rings`."""
        return coarse_rings(self.options, self.search.frame)

    def near(self, rings: int) -> InPlane:
        """All angles, and the shifts next to those found before."""
        options, step = self.options, self.options.offset_step
        shifts, whole = self.shifts(1.5 * step, step), self.shifts(options.offset_range, step)
        count = max(len(whole), len(shifts))
        return InPlane(psi_count(options.angular_sampling), shifts, rings, count)

    @cached_property
    def given(self) -> Given:
        """Where particles lie before anything is searched: in the middle, or as their file says."""
        if self.options.align:
            return Given(torch.zeros(len(self.table), 2))
        psi = self.table.required(ParticleSet.psi, "leave out --no-align")
        origins = torch.from_numpy(read_origins(self.table)).float()
        angle = torch.from_numpy(np.radians(psi)).float()
        return Given(origins / self.search.frame.pixel_size, angle)
