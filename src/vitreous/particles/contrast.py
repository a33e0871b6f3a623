"""How strong the contrast of each particle's image is beside others, as the particles bring it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.particles.particle_set import ParticleSet


def read_scales(table: ParticleSet) -> Float[np.ndarray, " n"]:
    """Scale of each particle's contrast; 1 where nothing tells it.

    Raises
    ------
    InputError
        For cells that are no numbers, or not above 0.
    """
    scale = table.scale
    if scale is None:
        return np.ones(len(table))
    wrong = ~(scale > 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{table.row_name(row)} has {scale[row]:g} in the column "
            f"{table.called(ParticleSet.scale)}, expected more than 0",
            where=table.path,
            hint="mend that cell, or leave the column out",
        )
    return scale
