"""STAR blocks of simulated particles, for tests that change them before they are written."""

from __future__ import annotations

from pathlib import Path

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.simulate import Views
from vitreous.io.star import StarBlock
from vitreous.jobs.simulate import described
from vitreous.particles.relion.columns import RelionColumns


def particle_blocks(
    config: SimulateConfig, views: Views, box: int, pixel_size: float
) -> list[StarBlock]:
    """The optics block and the particles' block."""
    columns = described(config, views, box, pixel_size, Path("particles.star")).written
    assert isinstance(columns, RelionColumns) and columns.optics is not None
    return [columns.optics, columns.particles]
