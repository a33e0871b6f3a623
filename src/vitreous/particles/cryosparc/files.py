"""Particle sets read from cryoSPARC's files, and made for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vitreous.errors import InputError
from vitreous.particles.corrections import ctf_state, defaulted_defocus
from vitreous.particles.cryosparc.columns import CryosparcColumns
from vitreous.particles.cryosparc.joined import read_joined
from vitreous.particles.cryosparc.names import INDEX, PATH
from vitreous.particles.cryosparc.optics import optics_groups, optics_notes
from vitreous.particles.cryosparc.values import with_best_class
from vitreous.particles.image_files import read_image_files
from vitreous.particles.particle_set import ParticleSet

SUFFIXES = (".cs", ".csg")


def _require_images(columns: dict[str, np.ndarray], path: Path) -> None:
    if not len(columns["uid"]):
        raise InputError("zero particles", where=path, hint="give a table with particles in it")
    for name, kind, words in ((PATH, "S", "text"), (INDEX, "iu", "whole numbers")):
        values = columns[name]
        if values.dtype.kind not in kind or values.ndim != 1:
            raise InputError(
                f"column {name} has the type {values.dtype}, expected {words}",
                where=path,
                hint="give the file as cryoSPARC wrote it",
            )


def read_cryosparc(path: Path, *, need_images: bool) -> ParticleSet:
    """Read a .cs or .csg file: :func:`vitreous.particles.files.read_particles`."""
    table = read_joined(path)
    particles = cryosparc_set(table.columns, path, need_images=need_images)
    if len(table.files) == 1:
        return particles
    joined = f"Joined by uid with {', '.join(file.name for file in table.files[1:])}."
    return replace(particles, notes=(joined, *particles.notes))


def cryosparc_set(read: dict[str, np.ndarray], path: Path, *, need_images: bool) -> ParticleSet:
    """Particles of a file's columns."""
    _require_images(read, path)
    columns = CryosparcColumns(path, with_best_class(read))
    names = columns.read(ParticleSet.image_name)
    assert names is not None
    files = read_image_files(names, path, PATH, needed=need_images)
    optics, group = optics_groups(columns.columns, path)
    state = ctf_state(columns, len(group), path)
    notes = tuple(optics_notes(columns.columns))
    values = defaulted_defocus(columns)
    return ParticleSet(path, columns, optics, group, files, state, values, notes=notes)


def read_cryosparc_columns(path: Path) -> CryosparcColumns:
    """Columns of a .cs or .csg file."""
    return CryosparcColumns(path, with_best_class(read_joined(path).columns))
