"""Particles of one format's file as another format has them: all fields that both know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.particles.corrections import defaulted_defocus
from vitreous.particles.cryosparc.columns import CryosparcColumns
from vitreous.particles.cryosparc.optics import optics_columns, optics_groups
from vitreous.particles.cryosparc.values import mixed
from vitreous.particles.fields import Field
from vitreous.particles.image_files import file_part
from vitreous.particles.micrographs import micrograph_sides
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.files import new_relion

FIELDS: tuple[Field[Any], ...] = tuple(
    field for field in vars(ParticleSet).values() if isinstance(field, Field)
)
"""All fields of a particle, in the order of the class."""

_TOLD = ("number", "name", "pixel_size", "box", "voltage", "cs", "amplitude_contrast")
_NEUTRAL = OpticsGroup(0, "", 0, 0, 0, 0, 0)


def held_fields(particles: ParticleSet) -> Iterator[tuple[str, Any]]:
    """Names and values of all fields that a set has.

    Raises
    ------
    InputError
        For the first cell that holds no value.
    """
    for field in FIELDS:
        if particles.has(field):
            yield field.name, particles.of_field(field)


def settled(particles: ParticleSet) -> ParticleSet:
    """The same particles as a file would give them back: all fields are read from the columns."""
    carried = particles.written
    values = defaulted_defocus(carried)
    if isinstance(carried, CryosparcColumns):
        optics, group = optics_groups(carried.columns, particles.path)
        particles = replace(particles, optics=optics, group=group)
    return replace(particles, carried=carried, values=values, changed=())


def _aberrations(optics: tuple[OpticsGroup, ...]) -> list[str]:
    """Attributes that some group has and most do without."""
    names = ("beam_tilt", "mag_matrix", "odd_zernike", "even_zernike")
    return [n for n in names if any(getattr(o, n) != getattr(_NEUTRAL, n) for o in optics)]


def as_relion(particles: ParticleSet, path: Path) -> ParticleSet:
    """The same particles with RELION's columns, in the layout of RELION 3.1 and 5.

    Raises
    ------
    InputError
        For cells that hold no value.
    """
    if isinstance(particles.carried, RelionColumns):
        return particles
    made = new_relion(path, particles.optics, particles.group, particles.files)
    made = made.with_optics(dict(enumerate(particles.optics)), *_aberrations(particles.optics))
    fields = dict(held_fields(particles))
    if "image_sign" in fields and (fields["image_sign"] == 1).all():
        del fields["image_sign"]
    return made.with_fields(**fields)


def _hashed(name: str) -> np.uint64:
    return np.uint64(
        int.from_bytes(hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest(), "little")
    )


def uids_of(particles: ParticleSet) -> Int[np.ndarray, " n"]:
    """Numbers that cryoSPARC may know the particles by: their own, or made of the images' names.

    An image has the same in every table, as long as its file has the same name; rows that repeat
    an image get the next ones.
    """
    given = particles.uid
    if given is not None:
        numbers = given.cast(pl.UInt64, strict=False)
        if not numbers.null_count() and numbers.n_unique() == len(numbers):
            return numbers.to_numpy().copy()
    names = particles.image_name
    used, first = np.unique(particles.stack_of, return_index=True)
    seeds = np.zeros(len(particles.stacks), np.uint64)
    for stack, row in zip(used.tolist(), first.tolist(), strict=True):
        name = str(particles.stacks[stack]) if names is None else file_part(names[row])
        seeds[stack] = _hashed(Path(name).name)
    uids = mixed(seeds[particles.stack_of] + particles.index_in_stack.astype(np.uint64))
    while True:
        _, first_row = np.unique(uids, return_index=True)
        if len(first_row) == len(uids):
            return uids
        again = np.setdiff1d(np.arange(len(uids)), first_row)
        uids[again] = mixed(uids[again] + np.arange(1, len(again) + 1, dtype=np.uint64))


def _image_columns(particles: ParticleSet) -> dict[str, np.ndarray]:
    """What cryoSPARC expects of every image beside its name."""
    count = len(particles)
    return {
        "blob/sign": np.ones(count, np.float32),
        "blob/import_sig": np.zeros(count, np.uint64),
    }


def _ctf_columns(count: int) -> dict[str, np.ndarray]:
    """What cryoSPARC expects of every CTF beside what fields tell."""
    one, none = np.ones(count, np.float32), np.zeros(count, np.float32)
    return {
        "ctf/type": np.full(count, b"imported"),
        **{f"ctf/{name}": none for name in ("phase_shift_rad", "scale_const", "bfactor")},
        "ctf/scale": one,
        **{f"ctf/{name}_A": np.zeros((count, 2), np.float32) for name in ("shift", "trefoil")},
        "ctf/tetra_A": np.zeros((count, 4), np.float32),
    }


_POSED = (
    *("error", "error_min", "resid_pow", "slice_pow", "image_pow", "cross_cor", "alpha_min"),
    *("weight", "pose_ess", "shift_ess", "class_posterior", "class_ess"),
)


def _pose_columns(particles: ParticleSet) -> dict[str, np.ndarray]:
    """What cryoSPARC expects of every alignment beside what fields tell."""
    count = len(particles)
    return {
        **{f"alignments3D/{name}": np.zeros(count, np.uint32) for name in ("split", "class")},
        "alignments3D/shift": np.zeros((count, 2), np.float32),
        "alignments3D/psize_A": particles.pixel_sizes.astype(np.float32),
        "alignments3D/alpha": np.ones(count, np.float32),
        **{f"alignments3D/{name}": np.zeros(count, np.float32) for name in _POSED},
    }


def _location_columns(particles: ParticleSet) -> dict[str, np.ndarray]:
    """What cryoSPARC expects of every place beside what fields tell."""
    columns = {"location/exp_group_id": np.zeros(len(particles), np.uint32)}
    micrograph, sides = particles.micrograph, micrograph_sides(particles)
    if micrograph is not None:
        names = micrograph.unique(maintain_order=True)
        place = micrograph.replace_strict(names, range(len(names)), return_dtype=pl.Int64)
        columns["location/micrograph_uid"] = np.array([_hashed(n) for n in names])[place.to_numpy()]
    if sides is not None:
        columns["location/micrograph_shape"] = sides[:, ::-1].astype(np.uint32)
    return columns


def as_cryosparc(particles: ParticleSet, path: Path) -> ParticleSet:
    """The same particles with cryoSPARC's columns.

    Places on micrographs are fractions of their sides; where neither the particles nor the
    micrographs' headers tell these, places stay in pixels, in columns of our own.

    Parameters
    ----------
    particles : ParticleSet
    path : Path
        Of the file that is to be.

    Raises
    ------
    InputError
        For cells that hold no value.
    """
    if isinstance(particles.carried, CryosparcColumns):
        return particles
    fields = dict(held_fields(particles))
    columns = {"uid": uids_of(particles), **_image_columns(particles)}
    fields.pop("uid", None)
    if "defocus_u" in fields:
        columns |= _ctf_columns(len(particles))
    if {"rot", "tilt", "psi"} & set(fields):
        columns |= _pose_columns(particles)
    if {"micrograph", "x"} & set(fields):
        columns |= _location_columns(particles)
    carried = CryosparcColumns(path, columns)
    told = (*_TOLD, *_aberrations(particles.optics), "beam_tilt", "mag_matrix")
    for name in dict.fromkeys(told):  # one at a time: groups may have lists of different lengths
        carried = _with_attribute(carried, particles, name)
    made = ParticleSet(
        *(path, carried, particles.optics, particles.group, particles.files, particles.state, {})
    )
    return made.with_fields(**fields)


def _with_attribute(
    carried: CryosparcColumns, particles: ParticleSet, name: str
) -> CryosparcColumns:
    """Columns with an attribute of all optics groups; lists are filled up with zeros."""
    rows = [next(iter(optics_columns(group, (name,)).items())) for group in particles.optics]
    column, longest = rows[0][0], max(value.size for _, value in rows)
    if rows[0][1].ndim:
        values = np.stack([np.pad(value, (0, longest - value.size)) for _, value in rows])
    else:
        values = np.stack([value for _, value in rows])
    return CryosparcColumns(carried.path, {**carried.columns, column: values[particles.group]})
