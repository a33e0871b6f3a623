"""The grid that images of all optics groups are brought to: that of a job's maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitreous.particles.particle_set import ParticleSet

_ALIKE = 1e-3
"""Relative difference between pixel sizes that a map's header may make by rounding."""


@dataclass(frozen=True)
class Grid:
    """Box and pixel size of images or maps.

    Attributes
    ----------
    box : int
        Pixels.
    pixel_size : float
        Angstrom.
    """

    box: int
    pixel_size: float

    def __str__(self) -> str:
        """Return it as messages have it."""
        return f"{self.box} px of {self.pixel_size:g} A"

    @property
    def field(self) -> float:
        """Width of the field of view, angstrom."""
        return self.box * self.pixel_size

    @property
    def nyquist(self) -> float:
        """Finest resolution that its pixels hold, angstrom."""
        return 2 * self.pixel_size

    def like(self, other: Grid) -> bool:
        """Whether another is the same but for rounding."""
        return self.box == other.box and abs(self.pixel_size / other.pixel_size - 1) <= _ALIKE


def grids(table: ParticleSet) -> dict[Grid, int]:
    """Grids of the images, and how many particles there are on each."""
    found: dict[Grid, int] = {}
    counts = np.bincount(table.group, minlength=len(table.optics)).tolist()
    for group, count in zip(table.optics, counts, strict=True):
        if count:
            grid = Grid(group.box, group.pixel_size)
            found[grid] = found.get(grid, 0) + count
    return found


def common_grid(table: ParticleSet, references: Sequence[Grid] = ()) -> Grid:
    """Grid of the maps that a table's particles are compared with.

    That of the first reference which is some optics group's own; else that of most particles, and
    of those with as many the finest.
    """
    own = grids(table)
    for reference in references:
        for grid in own:
            if grid.like(reference):
                return grid
    return max(own, key=lambda grid: (own[grid], -grid.pixel_size, grid.box))


def different_grids(table: ParticleSet) -> str | None:
    """Grids of the optics groups, for a message; None where all have the same."""
    own = grids(table)
    if len(own) == 1:
        return None
    return ", ".join(f"{count:,} particles on {grid}" for grid, count in own.items())


def grid_warnings(table: ParticleSet, grid: Grid) -> list[str]:
    """What must be said where images are brought from several grids to one."""
    found = different_grids(table)
    if found is None:
        return []
    return [
        f"The optics groups differ in box or pixel size ({found}): all images are brought to "
        f"{grid}, the maps' grid."
    ]
