"""Images moved and cut to what is kept of them, and moved back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.particles.micrographs import coordinate_pixels
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import (
    Poses,
    has_coordinates,
    origin_fields,
    read_coordinates,
    read_poses,
    with_coordinates,
)

_SHIFT = (ParticleSet.shift_x, ParticleSet.shift_y)
_CENTRE = (ParticleSet.centre_x, ParticleSet.centre_y, ParticleSet.centre_z)


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

    def described(self, table: ParticleSet) -> ParticleSet:
        """Table of the moved images, with what is needed to undo that."""
        centre = np.broadcast_to(self.centre, (len(table), 3)).T
        framing = {f.name: v for f, v in zip(_CENTRE, centre, strict=True)}
        framing |= {f.name: v for f, v in zip(_SHIFT, self.shifts.T, strict=True)}
        origins = origin_fields(self.poses.origins)
        moved = _moved(table, -self.shifts).with_fields(**framing, **origins)
        if self.box is None:
            return moved
        return moved.with_boxes({group.number: self.box for group in table.optics})


def framed(
    table: ParticleSet, poses: Poses, centre: Float[np.ndarray, " 3"], box: int | None
) -> Framing:
    """Images moved by whole pixels until a point of the map lies in their centre.

    Parameters
    ----------
    table : ParticleSet
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


def was_framed(table: ParticleSet) -> bool:
    """Whether the table tells how its images were moved."""
    return table.has(*_SHIFT, *_CENTRE)


def unframed(table: ParticleSet) -> ParticleSet:
    """Table with origins and coordinates of before its images were moved, by its present angles.

    The angles may have been refined since.
    """
    hint = "give particles whose images were moved"
    shift, centre = (
        np.stack([table.required(field, hint) for field in fields], axis=1)
        for fields in (_SHIFT, _CENTRE)
    )
    poses = read_poses(table)
    origins = poses.origins + shift * table.pixel_sizes[:, None] + poses.projected(centre)
    moved = _moved(table, shift).with_fields(**origin_fields(origins))
    return moved.without(*_SHIFT, *_CENTRE)


def _moved(table: ParticleSet, pixels: Float[np.ndarray, "n 2"]) -> ParticleSet:
    """Table whose coordinates, if it has any, are moved by pixels of the images."""
    if not has_coordinates(table):
        return table
    scale = table.pixel_sizes[:, None] / coordinate_pixels(table).sizes[:, None]
    return with_coordinates(table, read_coordinates(table) + pixels * scale)
