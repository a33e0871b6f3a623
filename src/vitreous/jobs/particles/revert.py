"""Take a subtraction back: the images and origins of before, with the angles of now."""

from __future__ import annotations

from vitreous.io.mrc import read_header
from vitreous.jobs.particles.framing import unframed, was_framed
from vitreous.particles.groups import ORIGINAL
from vitreous.particles.poses import require_columns
from vitreous.particles.table import ParticleTable


def _replaced(table: ParticleTable) -> ParticleTable:
    """Table of the images of before, whose groups have their boxes."""
    restored = table.with_images(table.block.frame[ORIGINAL]).without(ORIGINAL)
    boxes = {}
    for place, group in enumerate(table.optics):
        first = int((table.group == place).argmax())
        boxes[group.number] = read_header(restored.stacks[restored.stack_of[first]]).shape[2]
    return restored.with_boxes(boxes)


def reverted(table: ParticleTable) -> tuple[ParticleTable, tuple[str, ...]]:
    """Table of before a subtraction but for its angles, and warnings.

    Where images were moved, origins and coordinates are moved back, by the angles of now: they may
    have been refined since.

    Raises
    ------
    InputError
        Without rlnImageOriginalName, or if the images of before are not there.
    """
    require_columns(table, (ORIGINAL,), "give particles that a signal was subtracted from")
    if was_framed(table):
        return _replaced(unframed(table)), ()
    words = "origins and coordinates stay as they are: nothing tells whether images were moved"
    restored = _replaced(table)
    return restored, () if table.optics == restored.optics else (words,)
