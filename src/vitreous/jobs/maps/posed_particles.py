"""Particles chosen for a reconstruction: their poses, halves and weights, and their images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from vitreous.config.maps import ReconstructConfig
from vitreous.engine.images import defocus_of, few_particles, optics_of
from vitreous.errors import InputError, OptionError
from vitreous.particles.contrast import read_scales
from vitreous.particles.fields import Field, Wholes
from vitreous.particles.grid import Grid, common_grid, grid_warnings
from vitreous.particles.groups import Halves, dealt_halves, given_halves
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.poses import Poses, read_poses
from vitreous.particles.stack import ImageSource
from vitreous.reconstruct.backproject import PosedImages

_PIXELS = 1 << 22
"""Pixels of the images read and inserted at once."""

_DEALT = (
    "The halves were dealt anew, at poses that the particles had before. Poses refined against one "
    "map of all particles, as those of abinit and classify3d, bring its noise into both halves: "
    "these are not independent, and the FSC between them and the resolution are too good. "
)
_REFINE = "Refine the particles (vitreous refine), which keeps the halves apart, for a resolution."
_KEEP = "If the poses were found in the halves of the column {}, use --halves column."


@dataclass(frozen=True)
class PosedParticles:
    """Particles of a reconstruction.

    Attributes
    ----------
    table : ParticleSet
    poses : Poses
        Of all particles of the table.
    rows : array (chosen,)
        Those chosen.
    halves : Halves or None
        Of those chosen; None for one map of all.
    weight : array (chosen,) or None
    scale : array (chosen,) or None
        Of their contrast, as their column has it.
    warnings : tuple of str
    """

    table: ParticleSet
    poses: Poses
    rows: Int[np.ndarray, " m"]
    halves: Halves | None
    weight: Float[np.ndarray, " m"] | None
    scale: Float[np.ndarray, " m"] | None
    warnings: tuple[str, ...]

    @property
    def half(self) -> Int[np.ndarray, " m"] | None:
        """Half of those chosen, 1 or 2; None for one map of all."""
        return None if self.halves is None else self.halves.half

    @property
    def optics(self) -> list[OpticsGroup]:
        """Optics groups of those chosen."""
        return [self.table.optics[n] for n in np.unique(self.table.group[self.rows])]

    @property
    def halves_record(self) -> dict[str, Any] | None:
        """What ``result.json`` says of the halves; dealt ones were not apart in the search."""
        return (
            None if self.halves is None else self.halves.record(independent=not self.halves.dealt)
        )

    @property
    def grid(self) -> Grid:
        """Of their maps."""
        return common_grid(self.table.take(self.rows))

    @property
    def maps(self) -> int:
        """Number of maps that they are divided among."""
        return 1 if self.half is None else 2

    @property
    def counts(self) -> list[int]:
        """How many go into each."""
        return (
            [len(self.rows)] if self.half is None else [int((self.half == h).sum()) for h in (1, 2)]
        )


def _only(
    table: ParticleSet, rows: np.ndarray, field: Field[Wholes], value: int | None
) -> np.ndarray:
    """The rows whose field has a value, if one is asked for."""
    if value is None:
        return rows
    there = table.required(field, "choose by a column that is there")[rows]
    if not (there == value).any():
        found = ", ".join(f"{v:g}" for v in np.unique(there)[:20])
        raise InputError(
            f"no particles with {value} in the column {table.called(field)} (it holds {found})",
            where=table.path,
            hint="give one that is there",
        )
    return rows[there == value]


def _halves(config: ReconstructConfig, table: ParticleSet, rows: np.ndarray) -> Halves | None:
    """Halves of the rows; None if all go into one map."""
    if config.halves == "none" or config.subset is not None:
        return None
    chosen = table.take(rows)
    if config.halves != "column":
        found = dealt_halves(chosen, config.halves, config.seed)
        half = ParticleSet.half
        advice = _KEEP.format(table.called(half)) if table.has(half) else _REFINE
        return replace(found, warnings=(_DEALT + advice,))
    found = given_halves(
        chosen, "pass --halves random, --halves micrograph or, for the whole alone, none"
    )
    for number in (1, 2):
        if not (found.half == number).any():
            raise InputError(
                f"half {number} has no particles",
                where=table.path,
                hint="pass --halves random or, for the whole alone, --halves none",
            )
    return found


def _weights(
    name: str | None, table: ParticleSet, rows: np.ndarray, half: np.ndarray | None
) -> Float[np.ndarray, " m"] | None:
    if name is None:
        return None
    name = name.removeprefix("_")
    numbers = table.written.numbers(name)
    if numbers is None:
        hint = "give a column that is there as --weights"
        raise InputError(f"no column _{name}", where=table.path, hint=hint)
    weight = numbers[rows]
    if (weight < 0).any():
        row = int(rows[(weight < 0).argmax()])
        raise InputError(
            f"{table.row_name(row)} has the weight {weight.min():g} in the column _{name}, "
            "expected 0 or more",
            where=table.path,
            hint="mend that cell",
        )
    groups = np.ones(len(rows)) if half is None else half
    if min(weight[groups == group].sum() for group in np.unique(groups)) == 0:
        raise InputError(
            f"all weights in the column _{name} are 0, or those of a half",
            where=table.path,
            hint="give another column",
        )
    return weight


def _warnings(chosen: ParticleSet, weight: np.ndarray | None) -> Iterator[str]:
    yield from chosen.notes
    yield from few_particles(len(chosen))
    yield from grid_warnings(chosen, common_grid(chosen))
    if not chosen.has(ParticleSet.origin_x):
        yield "The table holds no origins: all particles are taken to be centred."
    if weight is not None and (weight == 0).any():
        yield f"{int((weight == 0).sum()):,} particles have the weight 0."


def choose_particles(config: ReconstructConfig, table: ParticleSet) -> PosedParticles:
    """The particles that a reconstruction is asked to take, once all columns are seen to be fit.

    Raises
    ------
    InputError, OptionError
        For missing columns, no particles to take, halves without particles, negative weights, and
        options at odds.
    """
    if config.subset is not None and config.halves in ("random", "micrograph"):
        raise OptionError(
            "one subset makes one map, but halves are asked for",
            where="--subset, --halves",
            hint="give one of them",
        )
    if config.ctf:
        require_ctf(table)
    if config.ewald and table.state.premultiplied.any():
        raise OptionError(
            "images that were multiplied by their CTF do not tell the sphere's two halves apart",
            where="--ewald",
            hint="leave it out, or extract the particles without multiplying them",
        )
    poses = read_poses(table)
    rows = _only(table, np.arange(len(table)), ParticleSet.class_number, config.class_)
    rows = _only(table, rows, ParticleSet.half, config.subset)
    halves = _halves(config, table, rows)
    weight = _weights(config.weights, table, rows, None if halves is None else halves.half)
    scale = read_scales(table)[rows] if table.has(ParticleSet.scale) else None
    warnings = [*_warnings(table.take(rows), weight), *(() if halves is None else halves.warnings)]
    return PosedParticles(table, poses, rows, halves, weight, scale, tuple(warnings))


def _part(
    particles: PosedParticles,
    places: np.ndarray,
    config: ReconstructConfig,
    source: ImageSource,
    device: torch.device,
) -> PosedImages:
    table, rows = particles.table, particles.rows[places]
    group = table.optics[table.group[rows[0]]]

    def moved(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    defocus = defocus_of(table, rows, phase_flipped=config.phase_flipped) if config.ctf else None
    images = PosedImages(
        moved(source.read(rows)),
        moved(particles.poses.matrices[rows]),
        moved(particles.poses.origins[rows]) / group.pixel_size,
        None if defocus is None else defocus.to(device),
        optics_of(group),
        group.pixel_size,
        ignore_until_first_peak=config.ignore_ctf_until_first_peak,
    )
    if particles.scale is not None:
        images = replace(images, scale=moved(particles.scale[places]))
    if particles.weight is not None:
        images = replace(images, weights=moved(particles.weight[places]))
    if particles.half is not None:
        images = replace(images, maps=moved(particles.half[places] - 1))
    return images


def posed_batches(
    particles: PosedParticles,
    source: ImageSource,
    config: ReconstructConfig,
    device: torch.device,
    places: Int[np.ndarray, " m"] | None = None,
) -> Iterator[PosedImages]:
    """Images of one optics group at a time, read once, in the table's order, on a device.

    They are those of all particles chosen, or of some ``places`` among these.
    """
    places = np.arange(len(particles.rows)) if places is None else places
    group = particles.table.group[particles.rows[places]]
    for number in np.unique(group):
        own = places[group == number]
        size = max(1, _PIXELS // particles.table.optics[number].box ** 2)
        for batch in np.array_split(own, math.ceil(len(own) / size)):
            yield _part(particles, batch, config, source, device)
