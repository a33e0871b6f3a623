"""Particles that a search did not work with get poses by its last maps, in one pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from vitreous.engine.assignments import ParticleAssignments
from vitreous.engine.images import CtfMode
from vitreous.engine.memory import IMAGES
from vitreous.engine.rings import load_rings
from vitreous.math.fourier import resample_map
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.inputs import AbinitInputs
from vitreous.schedules.abinit.last_pass import posed_by_grid
from vitreous.schedules.abinit.searched import Searched


def posed_rest(
    inputs: AbinitInputs, final: Searched, used: Int[np.ndarray, " m"], on_event: OnEvent
) -> ParticleAssignments:
    """What is found of all particles of a task, those used by a search as it left them.

    Parameters
    ----------
    inputs : AbinitInputs
        Of all particles.
    final : Searched
        The search of some.
    used : integer array (particles used,)
        Their rows in the task's table.
    on_event : callable

    Raises
    ------
    InputError
        For an image that cannot be read or holds NaN or one value only, naming its row.
    """
    frame, device = final.context.frame, final.context.device
    mode, room = CtfMode.of(inputs.config), inputs.memory.room(IMAGES)
    images = load_rings(inputs.table, inputs.source, frame, device, on_event, mode, room)
    context = replace(final.context, table=inputs.table, images=images)
    maps = resample_map(final.ended.polished.maps, frame.box).to(device)
    state = replace(final.chosen.to(device), maps=maps)
    return final.ended.found.put_into(posed_by_grid(context, state).found, used)
