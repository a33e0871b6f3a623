"""How strong the contrast of each particle's image is beside others, as a column tells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.particles.columns import numbers
from vitreous.particles.table import ParticleTable

SCALE = "vitreousScale"
"""Factor between a particle's image and the map's, 1 on the average: of the particle by itself, or
of its optics group."""


def read_scales(table: ParticleTable) -> Float[np.ndarray, " n"]:
    """Scale of each particle's contrast; 1 without the column.

    Raises
    ------
    InputError
        For cells that are no numbers, or not above 0.
    """
    if SCALE not in table.columns:
        return np.ones(len(table))
    scale = numbers(table.block, SCALE, table.path)
    wrong = ~(scale > 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{table.row_name(row)} has {scale[row]:g} in the column _{SCALE}, expected more than "
            "0",
            where=table.path,
            hint="mend that cell, or leave the column out",
        )
    return scale
