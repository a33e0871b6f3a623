"""What stays the same throughout a refinement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.errors import InputError
from vitreous.jobs.config.refine import RefineConfig
from vitreous.jobs.images import CtfMode, Frame, working_frame
from vitreous.jobs.refine.locality import Locality
from vitreous.particles.grid import Grid
from vitreous.particles.groups import halves
from vitreous.particles.selection import SUBSET, codes, random_subsets
from vitreous.particles.stack import ImageSource
from vitreous.particles.table import ParticleTable

_UNITS = {"micrograph": "rlnMicrographName", "filament": "rlnHelicalTubeID"}


SCALE = "vitreousScale"
"""Column of the particles' scales."""


@dataclass(frozen=True)
class Task:
    """The particles, how they are halved, and the choices made for them.

    Attributes
    ----------
    config : RefineConfig
    table : ParticleTable
    source : ImageSource
    half : integer tensor (particles,)
        0 or 1.
    operators : tensor (operators, 3, 3)
    mask_diameter : float
        Angstrom, of the images' mask.
    mask : tensor (m, m, m) or None
        Of the map, if one was given.
    device : torch.device
    grid : Grid
        Of the maps.
    locality : Locality or None
        Of a local search.
    """

    config: RefineConfig
    table: ParticleTable
    source: ImageSource
    half: Int[Tensor, " n"]
    operators: Float[Tensor, "s 3 3"]
    mask_diameter: float
    mask: Float[Tensor, "m m m"] | None
    device: torch.device
    grid: Grid
    locality: Locality | None = None

    @property
    def mode(self) -> CtfMode:
        """What the images' CTFs are taken to be."""
        return CtfMode.of(self.config)

    @property
    def field(self) -> float:
        """Width of the field of view, angstrom."""
        return self.grid.field

    @property
    def most_shells(self) -> int:
        """Shells that the pixels, or the option, allow."""
        return self.widest.polar.rings

    @property
    def widest(self) -> Frame:
        """Working box that holds all of these shells."""
        return self.frame(self.config.resolution_limit or 1e-3)

    def frame(self, resolution: float) -> Frame:
        """Working box for a resolution in angstrom."""
        return working_frame(self.grid, self.mask_diameter, resolution)

    def frame_of(self, shells: int) -> Frame:
        """Working box for a number of shells, or as many as there are."""
        return self.frame(self.field / min(shells, self.most_shells))

    def members(self, half: int) -> Int[Tensor, " b"]:
        """Particles of a half."""
        return torch.nonzero(self.half == half)[:, 0]


def halves_of(table: ParticleTable, unit: str, seed: int) -> Int[np.ndarray, " n"]:
    """Half, 0 or 1, of each particle: its own, or dealt out.

    Raises
    ------
    InputError
        If ``rlnRandomSubset`` holds anything but 1 and 2, or the column that a unit goes by is
        missing.
    """
    if SUBSET in table.columns:
        own = random_subsets(table, "leave the column out to have halves made")
        if len(set(own)) == 2:
            return own - 1
    if unit == "particle":
        return halves(np.arange(len(table)), seed) - 1
    column = _UNITS[unit]
    if column not in table.columns:
        raise InputError(
            f"has no column _{column} to keep each {unit} together by",
            where=table.path,
            mend="deal out the particles one by one (--halves particle)",
        )
    apart = codes(table, column)
    if unit == "filament":  # tubes are numbered anew in every micrograph
        apart = apart + codes(table, _UNITS["micrograph"]) * (int(apart.max()) + 1)
        apart = np.unique(apart, return_inverse=True)[1]
    return halves(apart, seed) - 1
