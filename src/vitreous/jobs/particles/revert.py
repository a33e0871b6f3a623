"""Take a subtraction back: the images and origins of before, with the angles of now."""

from __future__ import annotations

import polars as pl

from vitreous.io.mrc import read_header
from vitreous.jobs.particles.framing import unframed, was_framed
from vitreous.particles.particle_set import ParticleSet


def _replaced(table: ParticleSet, names: pl.Series) -> ParticleSet:
    """Table of the images of before, given their names, whose groups have their boxes."""
    restored = table.with_images(names).without(ParticleSet.original_image)
    boxes = {}
    for place, group in enumerate(table.optics):
        first = int((table.group == place).argmax())
        boxes[group.number] = read_header(restored.stacks[restored.stack_of[first]]).shape[2]
    return restored.with_boxes(boxes)


def reverted(table: ParticleSet) -> tuple[ParticleSet, tuple[str, ...]]:
    """Table of before a subtraction but for its angles, and warnings.

    Where images were moved, origins and coordinates are moved back, by the angles of now: they may
    have been refined since.

    Raises
    ------
    InputError
        Without their names, or if the images of before are not there.
    """
    hint = "give particles that a signal was subtracted from"
    names = table.required(ParticleSet.original_image, hint)
    if was_framed(table):
        return _replaced(unframed(table), names), ()
    words = "origins and coordinates stay as they are: nothing tells whether images were moved"
    restored = _replaced(table, names)
    return restored, () if table.optics == restored.optics else (words,)
