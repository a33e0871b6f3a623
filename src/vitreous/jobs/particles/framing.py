"""Images moved and cut to what is kept of them, and moved back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.particles.columns import numbers
from vitreous.particles.micrographs import coordinate_pixels
from vitreous.particles.poses import (
    Poses,
    has_coordinates,
    read_coordinates,
    read_poses,
    with_coordinates,
)
from vitreous.particles.table import ParticleTable

SHIFT = ("vitreousShiftX", "vitreousShiftY")
"""Whole pixels that an image was moved by."""

CENTRE = ("vitreousCentreX", "vitreousCentreY", "vitreousCentreZ")
"""Point of the map, in angstrom, that it was centred on."""


@dataclass(frozen=True)
class Framing:
    """How images are moved and cut.

    Attributes
    ----------
    centre : array (3,)
        Point of the map that they are centred on, angstrom.
    shifts : int array (particles, 2)
        Whole pixels (x, y) that they are moved by.
    poses : Poses
        Afterwards.
    box : int or None
        Pixels that they are cut to; None for as many as they have.
    """

    centre: Float[np.ndarray, " 3"]
    shifts: Int[np.ndarray, "n 2"]
    poses: Poses
    box: int | None

    def described(self, table: ParticleTable) -> ParticleTable:
        """Table of the moved images, with what is needed to undo that."""
        ones = np.ones(len(table))
        cells = {name: ones * value for name, value in zip(CENTRE, self.centre, strict=True)}
        cells |= dict(zip(SHIFT, self.shifts.T, strict=True))
        moved = _moved(table, -self.shifts).with_cells(**cells).with_origins(*self.poses.origins.T)
        if self.box is None:
            return moved
        return moved.with_boxes({group.number: self.box for group in table.optics})


def framed(
    table: ParticleTable, poses: Poses, centre: Float[np.ndarray, " 3"], box: int | None
) -> Framing:
    """Images moved by whole pixels until a point of the map lies in their centre.

    Parameters
    ----------
    table : ParticleTable
    poses : Poses
    centre : array (3,)
        x, y, z in angstrom from the map's centre.
    box : int, optional
        Pixels that the images are cut to.
    """
    pixel = table.pixel_sizes[:, None]
    centred = poses.centred_on(centre)
    shifts = np.round(centred.origins / pixel).astype(np.int64)
    left = Poses(centred.angles, centred.origins - shifts * pixel)
    return Framing(centre, shifts, left, box)


def was_framed(table: ParticleTable) -> bool:
    """Whether the table tells how its images were moved."""
    return {*SHIFT, *CENTRE} <= set(table.columns)


def unframed(table: ParticleTable) -> ParticleTable:
    """Table with origins and coordinates of before its images were moved, by its present angles.

    The angles may have been refined since.
    """
    shift, centre = (
        np.stack([numbers(table.block, name, table.path) for name in names], axis=1)
        for names in (SHIFT, CENTRE)
    )
    poses = read_poses(table)
    origins = poses.origins + shift * table.pixel_sizes[:, None] + poses.projected(centre)
    return _moved(table, shift).with_origins(*origins.T).without(*SHIFT, *CENTRE)


def _moved(table: ParticleTable, pixels: Float[np.ndarray, "n 2"]) -> ParticleTable:
    """Table whose coordinates, if it has any, are moved by pixels of the images."""
    if not has_coordinates(table):
        return table
    scale = table.pixel_sizes[:, None] / coordinate_pixels(table).sizes[:, None]
    return with_coordinates(table, read_coordinates(table) + pixels * scale)
