"""Particles of a finished refinement, to be cut out again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.config.extract import ExtractConfig
from vitreous.errors import InputError
from vitreous.jobs.extract.picked import PickedParticles
from vitreous.jobs.extract.source import Images
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.image_files import name_from, project_root
from vitreous.particles.micrographs import origins_to_coordinates
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.poses import read_coordinates, recentred, with_coordinates
from vitreous.particles.relion.coordinates import row_named, rows_by_name
from vitreous.particles.relion.micrograph_table import MicrographTable

_CTF = ("defocus_u", "defocus_v", "defocus_angle", "phase_shift")

_SAME = 1e-3
"""Relative difference of two pixel sizes that are one, rounded."""


@dataclass(frozen=True)
class RefinedParticles:
    """Particles of a table on the micrographs of another: a :class:`~.source.Source`."""

    particles: ParticleSet
    table: MicrographTable
    micrograph: Int[np.ndarray, " n"]
    xy: Float[np.ndarray, "n 2"]
    warnings: list[str]

    def defocus(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m 4"]:
        """U, V, angle and phase shift of some particles."""
        require_ctf(self.particles)
        return np.stack([np.asarray(getattr(self.particles, c)) for c in _CTF], axis=1)[rows]

    def write(self, path: Path, images: Images) -> None:
        """Write the particles with all their columns, and the names of their new images."""
        kept = self.particles.take(images.rows)
        sizes = np.array([group.pixel_size for group in self.table.optics])[self.table.group]
        of_group = {
            int(place): sizes[self.micrograph[images.rows[kept.group == place]][0]]
            for place in np.unique(kept.group)
        }
        groups = {
            place: replace(
                kept.optics[place], pixel_size=float(size * images.binning), box=images.box
            )
            for place, size in of_group.items()
        }
        root = project_root(
            kept.required(ParticleSet.image_name, "give particles with images"), kept.files
        )
        names = (name_from(path.parent, stack, root) for stack in images.files.stacks)
        made = kept.with_fields(image_name=images.files.named(*names))
        made = made.without(ParticleSet.original_image).with_optics(groups, "pixel_size", "box")
        made = made.with_corrections(
            flipped=images.action == "flip", multiplied=images.action == "multiply"
        )
        write_particles(path, replace(made, files=images.files))


def _rows_on(particles: ParticleSet, table: MicrographTable) -> np.ndarray:
    """Row of each particle's micrograph, -1 for one that the table lacks."""
    hint = "give particles with the names of their micrographs"
    rows = rows_by_name(table)
    found = particles.required(ParticleSet.micrograph, hint)
    row_of = {name: row_named(rows, name) for name in found.unique()}
    return np.array([-1 if (row := row_of[name]) is None else row for name in found])


def _on_micrographs(
    particles: ParticleSet, table: MicrographTable
) -> tuple[ParticleSet, np.ndarray, list[str]]:
    """Particles whose micrographs are in the table, the rows of these, and what was left out."""
    rows = _rows_on(particles, table)
    gone, known = int((rows < 0).sum()), np.flatnonzero(rows >= 0)
    if not len(known):
        raise InputError(
            f"none of its micrographs is in {table.path}",
            where=particles.path,
            hint="give the micrographs that these particles are from",
        )
    said = [f"{gone:,} particles on micrographs that {table.path} lacks are left out."]
    return particles.take(known), rows[known], said if gone else []


def _require_relion31(particles: ParticleSet) -> None:
    if not particles.carried.has_optics:
        raise InputError(
            "has no optics groups, which the new pixel size is written to",
            where=particles.path,
            hint="convert it with relion_convert_star first",
        )
    if particles.has(ParticleSet.filament):
        raise InputError(
            f"holds helical segments (column {particles.called(ParticleSet.filament)}), which are "
            "not extracted here",
            where=particles.path,
            hint="extract filaments with RELION",
        )


def _one_size_each(particles: ParticleSet, sizes: Float[np.ndarray, " n"]) -> None:
    """Require micrographs of one pixel size in each of the particles' optics groups."""
    for place, group in enumerate(particles.optics):
        own = sizes[particles.group == place]
        if len(own) and own.max() > own.min() * (1 + _SAME):
            raise InputError(
                f"optics group {group.number} has particles on micrographs of {own.min():g} and "
                f"{own.max():g} A/px",
                where=particles.path,
                hint="extract them apart, one STAR file of micrographs each",
            )


def _in_these_pixels(particles: ParticleSet, sizes: Float[np.ndarray, " n"]) -> ParticleSet:
    """Particles with coordinates in pixels of these micrographs, angstrom each.

    Coordinates of other micrographs are told by the size of their pixels, if the table has it.
    """
    before = particles.if_sound(ParticleSet.micrograph_pixel_size)
    if before is None or np.allclose(before, sizes, rtol=_SAME):
        return particles
    moved = with_coordinates(particles, read_coordinates(particles) * (before / sizes)[:, None])
    return moved.with_fields(micrograph_pixel_size=sizes)


def _with_ctf_of(particles: ParticleSet, table: MicrographTable, rows: np.ndarray) -> ParticleSet:
    """Particles with the defocus of their micrographs."""
    on = PickedParticles(table, pl.DataFrame(), rows, np.zeros((len(rows), 2)), [])
    columns = on.defocus(np.arange(len(rows))).T
    return particles.with_fields(**dict(zip(_CTF, columns, strict=True)))


def refined_particles(config: ExtractConfig, table: MicrographTable) -> RefinedParticles:
    """Particles of a table, moved as the options ask for.

    Raises
    ------
    InputError
        For tables of RELION 3.0, helical segments, particles without micrographs, coordinates or
        the poses that they are to be recentred by.
    """
    assert config.particles is not None
    particles = read_particles(config.particles, need_images=False)
    _require_relion31(particles)
    particles, rows, warnings = _on_micrographs(particles, table)
    sizes = np.array([group.pixel_size for group in table.optics])[table.group[rows]]
    _one_size_each(particles, sizes)
    particles = _in_these_pixels(particles, sizes)
    if config.recentre_on is not None:
        particles = recentred(particles, np.array(config.recentre_on))
    if config.recentre or config.recentre_on is not None:
        particles = origins_to_coordinates(particles, sizes)
    if config.reset_origins:
        none = np.zeros(len(particles))
        particles = particles.with_fields(origin_x=none, origin_y=none)
    if config.micrograph_ctf:
        particles = _with_ctf_of(particles, table, rows)
    return RefinedParticles(particles, table, rows, read_coordinates(particles), warnings)
