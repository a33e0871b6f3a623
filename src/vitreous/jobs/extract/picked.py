"""Particles that were picked on micrographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.config.extract import ExtractConfig
from vitreous.errors import InputError
from vitreous.io.star import StarBlock, write_star
from vitreous.jobs.extract.source import Images
from vitreous.particles.columns import as_cells, numbers
from vitreous.particles.image_files import name_from, names_in, project_root
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.coordinates import Coordinates, read_coordinates
from vitreous.particles.relion.micrograph_table import MicrographTable
from vitreous.particles.relion.names import (
    COLUMNS,
    CORRECTED,
    DEFOCUS,
    DIMENSIONS,
    INHERITED,
    MERIT,
    NAME,
    OPTICS,
    X,
    Y,
)

_OURS = "vitreous"
_IMAGE, (_GROUP,) = COLUMNS[ParticleSet.image_name][0].name, OPTICS["number"]


@dataclass(frozen=True)
class PickedParticles:
    """Picks on the micrographs of a table: a :class:`~.source.Source`."""

    table: MicrographTable
    frame: pl.DataFrame
    micrograph: Int[np.ndarray, " n"]
    xy: Float[np.ndarray, "n 2"]
    warnings: list[str]

    def defocus(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m 4"]:
        """U, V, angle and phase shift of the micrographs that particles are on."""
        u, v, angle, phase = (self.table.numbers(column) for column in DEFOCUS)
        if u is None:
            raise InputError(
                f"no column _{DEFOCUS[0]}",
                where=self.table.path,
                hint="give the micrographs_ctf.star of vitreous ctf, or use --ctf keep",
            )
        none = np.zeros(len(u))
        parts = (u, u if v is None else v, *(none if c is None else c for c in (angle, phase)))
        return np.stack(parts, axis=1)[self.micrograph[rows]]

    def write(self, path: Path, images: Images) -> None:
        """Write particles with the columns of their picks and of their micrographs' CTFs."""
        table, own = self.table, self.micrograph[images.rows]
        of_micrographs = table.rows.frame
        root = project_root(of_micrographs[NAME], table.files)
        stacks = (name_from(path.parent, stack, root) for stack in images.files.stacks)
        names = names_in(path.parent, of_micrographs[NAME], table.files)
        numbers_of_groups = np.array([group.number for group in table.optics])[table.group]
        inherited = [n for n in of_micrographs.columns if n in INHERITED or n.startswith(_OURS)]
        columns = [
            images.files.named(*stacks).alias(_IMAGE),
            names.gather(own).alias(NAME),
            as_cells(_GROUP, numbers_of_groups[own]),
            *(of_micrographs[name].gather(own) for name in inherited),
        ]
        particles = StarBlock("particles", self.frame[images.rows].with_columns(columns))
        write_star(path, [self._optics(images), particles])

    def _optics(self, images: Images) -> StarBlock:
        """Optics groups of the images: those of the micrographs, with what images have besides."""
        sizes = [group.pixel_size * images.binning for group in self.table.optics]
        (box,), pixel = OPTICS["box"], OPTICS["pixel_size"][0]
        told = [
            pl.Series(pixel, [f"{size:.6f}" for size in sizes]),
            pl.lit(str(images.box)).alias(box),
            pl.lit("2").alias(DIMENSIONS),
        ]
        if images.action in CORRECTED:
            told.append(pl.lit("1").alias(CORRECTED[images.action]))
        return StarBlock("optics", self.table.optics_frame.with_columns(told))


def _kept(
    config: ExtractConfig, table: MicrographTable, found: Coordinates
) -> tuple[np.ndarray, list[str]]:
    """Rows of the particles that are taken, and why others are not."""
    kept, said = np.ones(len(found.frame), dtype=bool), list[str]()
    if config.min_merit is not None:
        if MERIT not in found.frame.columns:
            raise InputError(
                f"no column _{MERIT}", where=config.coordinates, hint="leave out --min-merit"
            )
        merit = numbers(StarBlock("", found.frame), MERIT, config.coordinates or table.path)
        kept &= merit >= config.min_merit
    if not config.take_rejected:
        rejected = table.rejected
        gone = rejected[found.micrograph.to_numpy()]
        kept &= ~gone
        if gone.any():
            said.append(
                f"{int(gone.sum()):,} particles of {int(rejected.sum())} micrographs that vitreous "
                "ctf rejected are left out; --take-rejected takes them."
            )
    if not kept.any():
        raise InputError(
            f"none of {len(kept):,} picks is left: {said[0] if said else 'all have less merit'}",
            where=config.coordinates,
            hint="change --min-merit or pass --take-rejected",
        )
    return np.flatnonzero(kept), said


def picked_particles(config: ExtractConfig, table: MicrographTable) -> PickedParticles:
    """Picks on the micrographs of a table.

    Raises
    ------
    InputError
        Without any, for helical segments, and for coordinates that are no numbers.
    """
    assert config.coordinates is not None
    found = read_coordinates(config.coordinates, table)
    rows, warnings = _kept(config, table, found)
    if found.problems:
        count = len(found.problems)
        told = f"{count} coordinate files cannot be read and are left out, the first:"
        warnings += [told, found.problems[0]]
    frame = found.frame[rows]
    block = StarBlock("", frame)
    xy = np.stack([numbers(block, name, config.coordinates) for name in (X, Y)], axis=1)
    return PickedParticles(table, frame, found.micrograph.to_numpy()[rows], xy, warnings)
