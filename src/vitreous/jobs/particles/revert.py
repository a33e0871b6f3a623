"""Take a subtraction back: the images and origins of before, with the angles of now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitreous.io.mrc import read_header
from vitreous.jobs.check.pick_findings import micrograph_pixel
from vitreous.particles.columns import numbers
from vitreous.particles.poses import (
    read_coordinates,
    read_poses,
    require_columns,
    with_coordinates,
)
from vitreous.particles.table import ParticleTable

ORIGINAL = "rlnImageOriginalName"

SHIFT = ("vitreousShiftX", "vitreousShiftY")
"""Whole pixels that an image was moved by."""

CENTRE = ("vitreousCentreX", "vitreousCentreY", "vitreousCentreZ")
"""Point of the map, in angstrom, that it was centred on."""


def _replaced(table: ParticleTable) -> ParticleTable:
    """Table of the images of before, whose groups have their boxes."""
    require_columns(table, (ORIGINAL,), "give particles that a signal was subtracted from")
    restored = table.with_images(table.block.frame[ORIGINAL])
    frame = restored.block.frame.drop(ORIGINAL, *SHIFT, *CENTRE, strict=False)
    restored = replace(restored, block=restored.block.with_frame(frame))
    first = {g: int((table.group == place).argmax()) for place, g in enumerate(table.optics)}
    return restored.with_boxes(
        {
            group.number: read_header(restored.stacks[restored.stack_of[row]]).shape[2]
            for group, row in first.items()
        }
    )


def reverted(table: ParticleTable) -> tuple[ParticleTable, tuple[str, ...]]:
    """Table of before a subtraction but for its angles, and warnings.

    Where images were moved, origins and coordinates are moved back, by the angles of now: they may
    have been refined since.

    Raises
    ------
    InputError
        Without rlnImageOriginalName, or if the images of before are not there.
    """
    restored = _replaced(table)
    if not {*SHIFT, *CENTRE} <= set(table.columns):
        words = "Origins and coordinates stay as they are: nothing tells whether images were moved"
        return restored, () if table.optics == restored.optics else (words,)
    shift, centre = (
        np.stack([numbers(table.block, name, table.path) for name in names], axis=1)
        for names in (SHIFT, CENTRE)
    )
    poses, pixel = read_poses(table), table.pixel_sizes[:, None]
    back = poses.origins + shift * pixel + poses.projected(centre)
    restored = restored.with_origins(*back.T)
    if "rlnCoordinateX" in table.columns and "rlnCoordinateY" in table.columns:
        xy = read_coordinates(table) + shift * pixel / micrograph_pixel(table)
        restored = with_coordinates(restored, xy)
    return restored, ()
