"""RELION's two layouts: one table (3.0), or optics groups in a table of their own (3.1 to 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from vitreous.io.star import StarBlock
from vitreous.particles.columns import as_cells
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.names import DETECTOR_PIXEL, DIMENSIONS, MAGNIFICATION, OPTICS
from vitreous.particles.relion.optics import optics_cells

Layout = Literal["3.0", "3.1"]

_TOLD = ("number", "name", "pixel_size", "box", "voltage", "cs", "amplitude_contrast")
_MOVED = (ParticleSet.origin_x, ParticleSet.origin_y)
_MAGNIFICATION = 10_000.0
"""With it a detector's pixels of so many micrometres are as many angstrom in the image."""


def _with_origins(particles: ParticleSet, columns: RelionColumns) -> RelionColumns:
    """Columns with origins in the unit of their layout."""
    values = {f: v for f in _MOVED if (v := particles.of_field(f)) is not None}
    return columns.with_fields(values) if values else columns


def _upgraded(particles: ParticleSet, old: RelionColumns) -> RelionColumns:
    """Columns in the layout of RELION 3.1."""
    rows = [optics_cells(group, _TOLD) | {DIMENSIONS: "2"} for group in particles.optics]
    (number,) = OPTICS["number"]
    gone = {name for names in OPTICS.values() for name in names} | {DETECTOR_PIXEL, MAGNIFICATION}
    gone -= set(OPTICS["pixel_size"][2:])  # the micrograph's, which is a particle's own
    tilts = OPTICS["beam_tilt"]
    if any(name in old.names for name in tilts):
        rows = [
            row | optics_cells(group, ("beam_tilt",))
            for row, group in zip(rows, particles.optics, strict=True)
        ]
    numbers = np.array([group.number for group in particles.optics])[particles.group]
    frame = old.particles.frame.drop(gone & set(old.names))
    frame = frame.with_columns(as_cells(number, numbers).alias(number))
    new = replace(
        old,
        particles=StarBlock("particles", frame),
        optics=StarBlock("optics", pl.DataFrame(rows)),
        row=particles.group,
    )
    return _with_origins(particles, new)


def _downgraded(particles: ParticleSet, old: RelionColumns) -> RelionColumns:
    """Columns in the layout of RELION 3.0: what optics groups share stands in every row."""
    cells = [
        optics_cells(group, ("voltage", "cs", "amplitude_contrast", "beam_tilt"))
        | {MAGNIFICATION: f"{_MAGNIFICATION:.6f}", DETECTOR_PIXEL: f"{group.pixel_size:.6f}"}
        for group in particles.optics
    ]
    shared = pl.DataFrame(cells)[particles.group]
    (number,) = OPTICS["number"]
    frame = old.particles.frame.drop(number, strict=False).with_columns(shared)
    new = replace(old, particles=StarBlock("", frame), optics=None)
    return _with_origins(particles, new)


def in_layout(particles: ParticleSet, layout: Layout) -> ParticleSet:
    """Particles of a STAR file in one of RELION's layouts."""
    columns = particles.written
    if not isinstance(columns, RelionColumns):
        raise TypeError(type(columns))
    if columns.has_optics == (layout == "3.1"):
        return particles
    change = _upgraded if layout == "3.1" else _downgraded
    return replace(particles, carried=change(particles, columns), changed=())
