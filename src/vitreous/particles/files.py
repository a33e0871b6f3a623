"""Particle files: read to particle sets and written from them, by the adapter of their format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.particles.carried import Carried
from vitreous.particles.conversion import as_cryosparc, as_relion
from vitreous.particles.cryosparc.files import (
    SUFFIXES,
    read_cryosparc,
    read_cryosparc_columns,
)
from vitreous.particles.fields import Field
from vitreous.particles.image_files import ImageFiles, names_in
from vitreous.particles.job_folders import particles_file
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.files import new_relion, read_relion, read_relion_columns


def _is_cryosparc(path: Path) -> bool:
    return path.suffix.casefold() in SUFFIXES


def read_particles(path: Path | str, *, need_images: bool = True) -> ParticleSet:
    """Read a particle STAR file of RELION 3.0, 3.1 or 5, or a .cs or .csg file of cryoSPARC.

    Parameters
    ----------
    path : Path
        What a passthrough file beside a .cs file holds is read with it; a job's folder stands for
        the particles of its last iteration.
    need_images : bool
        Require the image files to be there.

    Raises
    ------
    InputError
        For a table without particles or image names, cells that do not parse, unknown optics
        groups, image files that are not there, and images that are no single projections.
    """
    path = particles_file(Path(path))
    read = read_cryosparc if _is_cryosparc(path) else read_relion
    return read(path, need_images=need_images)


def read_columns(path: Path | str, *fields: Field[Any]) -> Carried:
    """Columns of a particle file; none of them if it has not all of some fields.

    It need not name images, nor optics groups.

    Raises
    ------
    InputError
        For a file that cannot be read.
    """
    path = particles_file(Path(path))
    if _is_cryosparc(path):
        return read_cryosparc_columns(path)
    return read_relion_columns(path, *fields)


def new_particles(
    path: Path, optics: tuple[OpticsGroup, ...], group: Int[np.ndarray, " n"], files: ImageFiles
) -> ParticleSet:
    """Particles that no file has yet: images, named as ``files`` has them, in optics groups."""
    return new_relion(path, optics, group, files)


def image_names(particles: ParticleSet, folder: Path) -> pl.Series:
    """Image names for a table in another folder: :func:`~.image_files.names_in`."""
    names = particles.required(ParticleSet.image_name, "give particles with images")
    return names_in(folder, names, particles.files)


def placed(particles: ParticleSet, folder: Path) -> ParticleSet:
    """Particles whose images are found from a table in another folder."""
    names = image_names(particles, folder)
    same = names.equals(particles.required(ParticleSet.image_name, ""))
    return particles if same else particles.with_fields(image_name=names)


def _write(path: Path, particles: ParticleSet) -> None:
    convert = as_cryosparc if _is_cryosparc(path) else as_relion
    convert(placed(particles, path.parent), path).written.write(path)


def formats_beside(path: Path, write: str) -> list[Path]:
    """Files that particles are written to: ``path``, and those that ``--write`` asks for beside."""
    others = [path.with_suffix(f".{name}") for name in write.split(",") if name != "star"]
    return list(dict.fromkeys([path, *others]))


def write_particles(path: Path | str, particles: ParticleSet, *, write: str = "star") -> None:
    """Write particles whose images are found from their new place.

    A name that ends in .cs makes a file of cryoSPARC, any other a STAR file of RELION.

    Parameters
    ----------
    path : Path
    particles : ParticleSet
    write : {"star", "star,cs"}
        With cs among them a file of that format is written beside it, too.
    """
    for one in formats_beside(Path(path), write):
        _write(one, particles)
