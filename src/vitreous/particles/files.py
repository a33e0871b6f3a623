"""Particle files: read to particle sets and written from them, by the adapter of their format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.particles.carried import Carried
from vitreous.particles.fields import Field
from vitreous.particles.image_files import ImageFiles, names_in
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.files import new_relion, read_relion, read_relion_columns


def read_particles(path: Path | str, *, need_images: bool = True) -> ParticleSet:
    """Read a particle STAR file of RELION 3.0, 3.1 or 5.

    Parameters
    ----------
    path : Path
    need_images : bool
        Require the image files to be there.

    Raises
    ------
    InputError
        For a table without particles or image names, cells that do not parse, unknown optics
        groups, image files that are not there, and images that are no single projections.
    """
    return read_relion(Path(path), need_images=need_images)


def read_columns(path: Path | str, *fields: Field[Any]) -> Carried:
    """Columns of a particle file; none of them if it has not all of some fields.

    It need not name images, nor optics groups.

    Raises
    ------
    InputError
        For a file that cannot be read.
    """
    return read_relion_columns(Path(path), *fields)


def new_particles(
    path: Path, optics: tuple[OpticsGroup, ...], group: Int[np.ndarray, " n"], files: ImageFiles
) -> ParticleSet:
    """Particles that no file has yet: images, named as ``files`` has them, in optics groups."""
    return new_relion(path, optics, group, files)


def image_names(particles: ParticleSet, folder: Path) -> pl.Series:
    """Image names for a table in another folder: :func:`~.image_files.names_in`."""
    names = particles.required(ParticleSet.image_name, "give particles with images")
    return names_in(folder, names, particles.files)


def write_particles(path: Path | str, particles: ParticleSet) -> None:
    """Write particles whose images are found from their new place, here and by RELION."""
    path = Path(path)
    names = image_names(particles, path.parent)
    particles.with_fields(image_name=names).written.write(path)
