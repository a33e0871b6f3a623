"""The map that a refinement begins with: brought to the particles' grid, cut, and looked at."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.refine import RefineConfig
from vitreous.errors import InputError
from vitreous.imaging.filters import low_pass
from vitreous.imaging.map_grid import on_grid
from vitreous.math.fourier import resample_map, shell_index, shell_mean
from vitreous.particles.grid import Grid
from vitreous.validate.symmetry.rotate import symmetrise_map

_SYMMETRIC, _SURELY_SYMMETRIC = 0.5, 0.8
"""Correlations of a reference with itself turned by the group's operators, rotational averages
taken off, the least of which says: below the first, that it does not lie on the group's axes; below
the second, that it may not."""

_MARGIN = 2
"""Shells beyond its last that a box is given to look at a low-passed map in."""


def on_maps_grid(
    volume: Float[Tensor, "m m m"], pixel_size: float, grid: Grid
) -> tuple[Float[Tensor, "n n n"], list[str]]:
    """The reference on the maps' grid with all its detail, and a warning if it had another."""
    given, warnings = Grid(len(volume), pixel_size), []
    if not given.like(grid):
        warnings.append(
            f"The reference has {given}, the particles {grid}: it was brought to their grid. If it "
            "looks too large or too small, its header's pixel size is wrong."
        )
    return on_grid(volume, pixel_size, grid.box, grid.pixel_size), warnings


def _coarse(volume: Float[Tensor, "n n n"], grid: Grid, lowpass: float) -> Float[Tensor, "m m m"]:
    """The map cut at a resolution, in as small a box as holds it."""
    # The filter's edge is two shells wide: it is to end, not to begin, at the resolution given.
    shell = max(1.0, grid.field / lowpass - 1)
    cut = low_pass(volume, grid.pixel_size, grid.field / shell)
    return resample_map(cut, min(grid.box, 2 * (math.ceil(shell) + _MARGIN)))


def cut_reference(
    volume: Float[Tensor, "n n n"], grid: Grid, lowpass: float, operators: Float[Tensor, "s 3 3"]
) -> Float[Tensor, "n n n"]:
    """The reference without the detail beyond a resolution in angstrom, symmetry imposed."""
    coarse = _coarse(volume, grid, lowpass)
    if len(operators) > 1:
        coarse = symmetrise_map(coarse, operators)
    return resample_map(coarse, grid.box)


def axes_warnings(
    config: RefineConfig,
    volume: Float[Tensor, "n n n"],
    grid: Grid,
    operators: Float[Tensor, "s 3 3"],
) -> list[str]:
    """Require the group's axes where they should be; a warning where they may not be.

    Raises
    ------
    InputError
        If the reference, cut at ``config.lowpass``, is unlike itself turned.
    """
    if len(operators) == 1:
        return []
    coarse = _coarse(volume, grid, config.lowpass)
    # Each by itself: one axis in its place would hide in a mean that the others are not.
    alike = min(_likeness(coarse, symmetrise_map(coarse, turn[None])) for turn in operators[1:])
    hint = f"vitreous symmetry {config.reference} --align {config.symmetry}"
    if alike < _SYMMETRIC:
        raise InputError(
            f"does not have the symmetry {config.symmetry} about the axes that RELION uses "
            f"(it correlates with itself turned at {alike:.2f}, expected {_SURELY_SYMMETRIC} or "
            "more)",
            where=config.reference,
            hint=f"lay it on them: {hint}; or refine without symmetry",
        )
    if alike >= _SURELY_SYMMETRIC:
        return []
    return [
        f"The reference correlates with itself turned by {config.symmetry} at {alike:.2f} only: it "
        f"is noisy, or off the axes that RELION uses. Look at {hint}."
    ]


def _likeness(a: Float[Tensor, "n n n"], b: Float[Tensor, "n n n"]) -> float:
    """Correlation of two maps without their rotational averages."""
    box = a.shape[-1]
    shell = shell_index(box, 3)
    inside = shell < box // 2
    parts = []
    for volume in (a, b):
        average = shell_mean(volume, shell, box // 2)
        parts.append(volume[inside] - average[shell[inside]])
    return float(torch.corrcoef(torch.stack(parts))[0, 1])
