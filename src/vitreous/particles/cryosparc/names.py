"""cryoSPARC's columns: which holds what field, in what unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitreous.particles.fields import Field
from vitreous.particles.particle_set import ParticleSet


@dataclass(frozen=True)
class Column:
    """A column that holds a field by itself: field = column * factor + offset.

    Attributes
    ----------
    name : str
    dtype : str
        NumPy's name of the type that it is written in.
    factor, offset : float
    """

    name: str
    dtype: str = "f4"
    factor: float = 1.0
    offset: float = 0.0


DEGREES = math.degrees(1.0)

COLUMNS: Mapping[Field[Any], tuple[Column, ...]] = {
    ParticleSet.defocus_u: (Column("ctf/df1_A"),),
    ParticleSet.defocus_v: (Column("ctf/df2_A"),),
    ParticleSet.defocus_angle: (Column("ctf/df_angle_rad", factor=DEGREES),),
    ParticleSet.phase_shift: (Column("ctf/phase_shift_rad", factor=DEGREES),),
    ParticleSet.ctf_bfactor: (Column("ctf/bfactor"),),
    ParticleSet.ctf_scale: (Column("ctf/scale"),),
    ParticleSet.half: (Column("alignments3D/split", "u4", offset=1),),
    ParticleSet.class_number: (
        Column("alignments3D/class", "u4", offset=1),
        Column("alignments2D/class", "u4", offset=1),
    ),
    ParticleSet.scale: (Column("alignments3D/alpha"),),
    ParticleSet.image_sign: (Column("blob/sign"),),
    ParticleSet.picking_merit: (Column("pick_stats/ncc_score"),),
    ParticleSet.micrograph: (Column("location/micrograph_path", "S"),),
    ParticleSet.filament: (Column("filament/filament_uid", "u8"),),
    ParticleSet.micrograph_pixel_size: (Column("location/micrograph_psize_A"),),
    ParticleSet.uid: (Column("uid", "u8"),),
}
"""Columns that hold a field by themselves: the first there is read, the first is written.  Poses,
origins, places and image names are made of several: see ``columns``."""

POSE, SHIFT, SHIFT_PIXEL = "alignments3D/pose", "alignments3D/shift", "alignments3D/psize_A"
PATH, INDEX, PIXEL, SHAPE = "blob/path", "blob/idx", "blob/psize_A", "blob/shape"
X, Y, MICROGRAPH_SHAPE = (
    *("location/center_x_frac", "location/center_y_frac", "location/micrograph_shape"),
)
IMAGE_COLUMNS = (PATH, INDEX)

GROUP = "ctf/exp_group_id"
VOLTAGE, CS, TILT, MAGNIFICATION = "ctf/accel_kv", "ctf/cs_mm", "ctf/tilt_A", "ctf/anisomag"
AMPLITUDE_CONTRAST = ("ctf/amp_contrast", "ctf/ac")
UNTRANSLATED = ("ctf/shift_A", "ctf/trefoil_A", "ctf/tetra_A")
"""Aberrations that are carried through and not applied: see ``docs/decisions.md``."""

CTF_COLUMNS = ("ctf/df1_A", VOLTAGE, CS, AMPLITUDE_CONTRAST[0])
"""What the CTF is computed from."""
