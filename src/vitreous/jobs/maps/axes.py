"""The word on symmetry imposed on particles whose poses do not lie on its axes."""

from __future__ import annotations

from dataclasses import replace

import torch

from vitreous.config.maps import ReconstructConfig
from vitreous.jobs.maps.posed_particles import PosedParticles, posed_batches
from vitreous.math.symmetry import point_group
from vitreous.particles.groups import Halves, halves, image_numbers
from vitreous.particles.selection import evenly
from vitreous.particles.stack import ImageSource
from vitreous.reconstruct.backproject import MapGrid, backproject
from vitreous.runs.folder import OnEvent
from vitreous.validate.symmetry.posed_axes import posed_axes

_IMAGES = 2000
"""Images looked at, at the most."""

_SHELLS = 10
"""Of the particles' box: the shape of a molecule, below most of its noise."""

_KNOWN = 0.3
"""Correlation of the halves from which they show anything."""

_SHARED = 0.65
"""Part of it that turning by an operator must leave."""


def _coarse(grid: MapGrid) -> MapGrid:
    radius = min(_SHELLS, grid.radius)
    box = 2 * (int(radius) + 3)
    return MapGrid(box, grid.width / box, radius)


def _sample(particles: PosedParticles, seed: int) -> PosedParticles:
    """Some of the particles, in two halves."""
    places = evenly(len(particles.rows), _IMAGES)
    rows = particles.rows[places]
    return replace(
        particles,
        rows=rows,
        halves=Halves(halves(image_numbers(particles.table.take(rows)), seed), dealt=True),
        scale=None if particles.scale is None else particles.scale[places],
        weight=None if particles.weight is None else particles.weight[places],
    )


def axes_warnings(
    particles: PosedParticles,
    source: ImageSource,
    config: ReconstructConfig,
    grid: MapGrid,
    device: torch.device,
    on_event: OnEvent,
) -> list[str]:
    """What must be said of the symmetry asked for: nothing if the particles have it.

    Two halves of a sample, at low resolution and without symmetry, are compared with each other,
    and one with the other turned by every operator of the group.
    """
    operators = point_group(config.symmetry)
    if len(operators) == 1:
        return []
    some, coarse = _sample(particles, config.seed), _coarse(grid)
    batches = posed_batches(some, source, config, device)
    sums = backproject(batches, coarse, 2, device=device)
    found = posed_axes(sums.at(0), sums.at(1), operators)
    on_event({"event": "axes", "halves": found.halves, "turned": found.turned})
    if found.halves < _KNOWN or found.turned >= _SHARED * found.halves:
        return []
    return [
        f"The particles do not have the symmetry {config.symmetry} about the axes that RELION "
        f"uses: at {coarse.width / coarse.radius:.0f} A their halves correlate at "
        f"{found.halves:.2f}, and at {found.turned:.2f} once one is turned by it. Reconstruct them "
        f"without symmetry, lay the map on the axes with vitreous symmetry MAP --align "
        f"{config.symmetry}, and refine from it."
    ]
