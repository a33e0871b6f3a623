"""What a file says was done about the CTF in its images: known to every job alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.particles.carried import Carried
from vitreous.particles.ctf_state import CtfState
from vitreous.particles.fields import Field, Reals, Truths
from vitreous.particles.particle_set import ParticleSet

_FLIPPED, _MULTIPLIED = ParticleSet.phase_flipped, ParticleSet.ctf_multiplied


def _flag(carried: Carried, field: Field[Truths], count: int) -> Truths:
    flags = carried.read(field)
    return np.zeros(count, dtype=bool) if flags is None else flags


def _unless(carried: Carried, field: Field[Reals], neutral: float) -> Reals | None:
    """A field's numbers; None if there are none or all are neutral."""
    values = carried.read(field)
    return None if values is None or (values == neutral).all() else values


def ctf_state(carried: Carried, count: int, path: Path) -> CtfState:
    """State of the CTF in all images, ``count`` of them.

    Raises
    ------
    InputError
        For cells that do not parse, and images said to be flipped and multiplied at once.
    """
    flipped = _flag(carried, _FLIPPED, count)
    multiplied = _flag(carried, _MULTIPLIED, count)
    both = flipped & multiplied
    if both.any():
        names = f"{carried.called(_FLIPPED)} and {carried.called(_MULTIPLIED)}"
        raise InputError(
            f"row {int(both.argmax()) + 1} has both {names}",
            where=path,
            hint="keep the one that is true",
        )
    scale = _unless(carried, ParticleSet.ctf_scale, 1.0)
    bfactor = _unless(carried, ParticleSet.ctf_bfactor, 0.0)
    return CtfState(flipped, multiplied, scale, bfactor)


def defaulted_defocus(carried: Carried) -> dict[Field[Any], np.ndarray]:
    """Defocus and phase shift of all particles, as far as the CTF needs them; empty without any."""
    u = carried.read(ParticleSet.defocus_u)
    if u is None:
        return {}
    defaults: dict[Field[Any], np.ndarray] = {
        ParticleSet.defocus_v: u,
        ParticleSet.defocus_angle: np.zeros(len(u)),
        ParticleSet.phase_shift: np.zeros(len(u)),
    }
    read = {field: carried.read(field) for field in defaults}
    others = {f: default if (v := read[f]) is None else v for f, default in defaults.items()}
    return {ParticleSet.defocus_u: u, **others}


def correction_notes(carried: Carried, state: CtfState) -> tuple[str, ...]:
    """What the file says was done to the images, for the user."""
    kinds = (
        (state.flipped, "phase-flipped", _FLIPPED),
        (state.premultiplied, "premultiplied by their CTF", _MULTIPLIED),
    )
    return tuple(
        f"{'All' if said.all() else f'{said.sum():,} of {len(said):,}'} images are taken as "
        f"{words}, as {carried.called(field)} says."
        for said, words, field in kinds
        if said.any()
    )
