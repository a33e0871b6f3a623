"""Particle sets read from STAR files of RELION 3.0, 3.1 or 5, and written to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star
from vitreous.particles.columns import as_cells
from vitreous.particles.corrections import correction_notes, ctf_state, defaulted_defocus
from vitreous.particles.ctf_state import CtfState
from vitreous.particles.fields import Field
from vitreous.particles.image_files import ImageFiles, read_image_files
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.names import DIMENSIONS, IMAGE_NAME, OPTICS
from vitreous.particles.relion.optics import optics_cells, optics_from_block, optics_from_rows
from vitreous.particles.relion.projections import require_projections

_BLOCKS = ("particles", "images", "")
"""Names of the block of particles, the first there counts."""


def has_images(block: StarBlock) -> bool:
    """Whether a table names images as RELION does."""
    return IMAGE_NAME in block.frame.columns


def _best_named(blocks: Iterable[StarBlock], names: Sequence[str]) -> StarBlock | None:
    """The block with the first of these names; programs differ in capitals."""
    found = [block for block in blocks if block.name.casefold() in names]
    return min(
        found,
        key=lambda block: (names.index(block.name.casefold()), block.name not in names),
        default=None,
    )


def _particles_block(blocks: Mapping[str, StarBlock], path: Path) -> StarBlock:
    """The block of particles: by its name, or the only one that has images."""
    having = [block for block in blocks.values() if IMAGE_NAME in block.frame.columns]
    block = _best_named(having, _BLOCKS) or (having[0] if len(having) == 1 else None)
    if block is None:
        found = ", ".join(f"data_{b.name} with {len(b.frame.columns)} columns" for b in
                          blocks.values())  # fmt: skip
        which = "several blocks with" if having else "no particles: no block with"
        raise InputError(
            f"{which} a column _{IMAGE_NAME}, and none of them is named data_particles (found "
            f"{found})",
            where=path,
            hint="name the block of particles data_particles"
            if having
            else "give the STAR file of extracted particles",
        )
    if len(block.frame) == 0:
        raise InputError("zero particles", where=path, hint="give a table with particles in it")
    return block


def read_relion(path: Path, *, need_images: bool) -> ParticleSet:
    """Read a STAR file: :func:`vitreous.particles.files.read_particles`."""
    return relion_set(read_star(path), path, need_images=need_images)


def relion_set(blocks: Mapping[str, StarBlock], path: Path, *, need_images: bool) -> ParticleSet:
    """Particles of a STAR file's blocks."""
    block = _particles_block(blocks, path)
    optics_block = _best_named((b for b in blocks.values() if b is not block), ["optics"])
    files = read_image_files(block.frame[IMAGE_NAME], path, f"_{IMAGE_NAME}", needed=need_images)
    grouped = (
        optics_from_rows(block, files, path)
        if optics_block is None
        else optics_from_block(optics_block, block, files, path)
    )
    others = tuple(b for b in blocks.values() if b is not block and b is not optics_block)
    columns = RelionColumns(path, block, optics_block, others, grouped.row)
    require_projections(columns, files)
    state = ctf_state(columns, len(block.frame), path)
    particles = ParticleSet(
        path,
        columns,
        grouped.optics,
        grouped.group,
        files,
        state,
        defaulted_defocus(columns),
        notes=(*grouped.notes, *correction_notes(columns, state)),
    )
    return replace(particles, carried=replace(columns, pixel_sizes=particles.pixel_sizes))


_TOLD = ("number", "name", "pixel_size", "box", "voltage", "cs", "amplitude_contrast")
"""What a new file says of its optics groups."""


def new_relion(
    path: Path, optics: tuple[OpticsGroup, ...], group: Int[np.ndarray, " n"], files: ImageFiles
) -> ParticleSet:
    """Particles that no file has yet, in RELION 3.1's layout: images and their optics groups."""
    rows = [optics_cells(one, _TOLD) | {DIMENSIONS: "2"} for one in optics]
    block = StarBlock("optics", pl.DataFrame(rows))
    (name,) = OPTICS["number"]
    numbers = np.array([one.number for one in optics])[group]
    particles = StarBlock("particles", pl.DataFrame([as_cells(name, numbers)]))
    nothing = np.zeros(len(group), dtype=bool)
    columns = RelionColumns(path, particles, block, (), group)
    made = ParticleSet(path, columns, optics, group, files, CtfState(nothing, nothing), {})
    names = files.named(*(str(stack) for stack in files.stacks))
    return made.with_fields(image_name=names)


def read_relion_columns(path: Path, *fields: Field[Any]) -> RelionColumns:
    """Columns of the first block that has some fields and rows; none if there is no such block."""
    nothing = np.zeros(0, dtype=np.int64)
    found = (RelionColumns(path, b, None, (), nothing) for b in read_star(path).values())
    held = (c for c in found if len(c.particles.frame) and all(map(c.has, fields)))
    return next(held, RelionColumns(path, StarBlock("", pl.DataFrame()), None, (), nothing))
