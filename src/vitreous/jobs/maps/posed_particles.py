"""Particles chosen for a reconstruction: their poses, halves and weights, and their images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from vitreous.errors import InputError, OptionError
from vitreous.jobs.config.maps import ReconstructConfig
from vitreous.jobs.folder import OnEvent
from vitreous.jobs.images import defocus_of, few_particles, optics_of
from vitreous.particles.columns import numbers
from vitreous.particles.groups import halves
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.poses import Poses, read_poses
from vitreous.particles.selection import codes, random_subsets
from vitreous.particles.stack import ImageSource
from vitreous.particles.table import ParticleTable, require_ctf
from vitreous.reconstruct.backproject import PosedImages

_PIXELS = 1 << 22
"""Pixels of the images read and inserted at once."""

_UNCORRECTED = ("rlnOddZernike", "rlnEvenZernike")
_MICROGRAPH = "rlnMicrographName"


@dataclass(frozen=True)
class PosedParticles:
    """Particles of a reconstruction.

    Attributes
    ----------
    table : ParticleTable
    poses : Poses
        Of all particles of the table.
    rows : array (chosen,)
        Those chosen.
    half : array (chosen,) or None
        1 or 2; None for one map of all.
    weight : array (chosen,) or None
    warnings : tuple of str
    """

    table: ParticleTable
    poses: Poses
    rows: Int[np.ndarray, " m"]
    half: Int[np.ndarray, " m"] | None
    weight: Float[np.ndarray, " m"] | None
    warnings: tuple[str, ...]

    @property
    def optics(self) -> list[OpticsGroup]:
        """Optics groups of those chosen."""
        return [self.table.optics[n] for n in np.unique(self.table.group[self.rows])]

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


def _column(table: ParticleTable, name: str, mend: str) -> Float[np.ndarray, " n"]:
    if name not in table.columns:
        raise InputError(f"no column _{name}", where=table.path, mend=mend)
    return numbers(table.block, name, table.path)


def _only(table: ParticleTable, rows: np.ndarray, name: str, value: int | None) -> np.ndarray:
    """The rows whose column has a value, if one is asked for."""
    if value is None:
        return rows
    there = _column(table, name, "choose by a column that is there")[rows]
    if not (there == value).any():
        found = ", ".join(f"{v:g}" for v in np.unique(there)[:20])
        raise InputError(
            f"no particles with {value} in the column _{name} (it holds {found})",
            where=table.path,
            mend="give one that is there",
        )
    return rows[there == value]


def _halves(
    config: ReconstructConfig, table: ParticleTable, rows: np.ndarray
) -> Int[np.ndarray, " m"] | None:
    """1 or 2 for each row; None if all go into one map."""
    if config.halves == "none" or config.subset is not None:
        return None
    if config.halves == "random":
        half = halves(np.arange(len(rows)), config.seed)
    elif config.halves == "by-micrograph":
        _named(table)
        half = halves(codes(table, _MICROGRAPH)[rows], config.seed)
    else:
        mend = "pass --halves random, --halves by-micrograph or, for the whole alone, none"
        half = random_subsets(table.take(rows), mend)
    for number in (1, 2):
        if not (half == number).any():
            raise InputError(
                f"half {number} has no particles",
                where=table.path,
                mend="pass --halves random or, for the whole alone, --halves none",
            )
    return half


def _named(table: ParticleTable) -> None:
    if _MICROGRAPH not in table.columns:
        raise InputError(
            f"no column _{_MICROGRAPH} to keep micrographs in one half by",
            where=table.path,
            mend="pass --halves random",
        )


def _weights(
    name: str | None, table: ParticleTable, rows: np.ndarray, half: np.ndarray | None
) -> Float[np.ndarray, " m"] | None:
    if name is None:
        return None
    name = name.removeprefix("_")
    weight = _column(table, name, "give a column that is there as --weights")[rows]
    if (weight < 0).any():
        row = int(rows[(weight < 0).argmax()])
        raise InputError(
            f"{table.row_name(row)} has the weight {weight.min():g} in the column _{name}, "
            "expected 0 or more",
            where=table.path,
            mend="mend that cell",
        )
    groups = np.ones(len(rows)) if half is None else half
    if min(weight[groups == group].sum() for group in np.unique(groups)) == 0:
        raise InputError(
            f"all weights in the column _{name} are 0, or those of a half",
            where=table.path,
            mend="give another column",
        )
    return weight


def _warnings(table: ParticleTable, count: int, weight: np.ndarray | None) -> Iterator[str]:
    yield from table.notes
    yield from few_particles(count)
    columns = set(table.columns)
    if not columns & {"rlnOriginXAngst", "rlnOriginX"}:
        yield "The table holds no origins: all particles are taken to be centred."
    if weight is not None and (weight == 0).any():
        yield f"{int((weight == 0).sum()):,} particles have the weight 0."


def choose_particles(config: ReconstructConfig, table: ParticleTable) -> PosedParticles:
    """The particles that a reconstruction is asked to take, once all columns are seen to be fit.

    Raises
    ------
    InputError, OptionError
        For missing columns, no particles to take, halves without particles, negative weights, and
        options at odds.
    """
    if config.subset is not None and config.halves in ("random", "by-micrograph"):
        raise OptionError(
            "one subset makes one map, but halves are asked for",
            where="--subset, --halves",
            mend="give one of them",
        )
    if config.ctf:
        require_ctf(table)
    poses = read_poses(table)
    rows = _only(table, np.arange(len(table)), "rlnClassNumber", config.class_)
    rows = _only(table, rows, "rlnRandomSubset", config.subset)
    half = _halves(config, table, rows)
    weight = _weights(config.weights, table, rows, half)
    return PosedParticles(
        table, poses, rows, half, weight, tuple(_warnings(table, len(rows), weight))
    )


def _part(particles: PosedParticles, places: np.ndarray, config: ReconstructConfig,
          source: ImageSource) -> PosedImages:  # fmt: skip
    table, rows = particles.table, particles.rows[places]
    group = table.optics[table.group[rows[0]]]
    images = PosedImages(
        torch.from_numpy(source.read(rows)),
        torch.from_numpy(particles.poses.matrices[rows]),
        torch.from_numpy(particles.poses.origins[rows]) / group.pixel_size,
        defocus_of(table, rows, phase_flipped=config.phase_flipped) if config.ctf else None,
        optics_of(group),
        group.pixel_size,
        ignore_until_first_peak=config.ignore_ctf_until_first_peak,
    )
    if particles.weight is not None:
        images = replace(images, weights=torch.from_numpy(particles.weight[places]))
    if particles.half is not None:
        images = replace(images, maps=torch.from_numpy(particles.half[places] - 1))
    return images


def posed_batches(
    particles: PosedParticles, source: ImageSource, config: ReconstructConfig, on_event: OnEvent
) -> Iterator[PosedImages]:
    """Images of one optics group at a time, read once, in the table's order."""
    group, done, count = particles.table.group[particles.rows], 0, len(particles.rows)
    for number in np.unique(group):
        places = np.flatnonzero(group == number)
        size = max(1, _PIXELS // particles.table.optics[number].box ** 2)
        for batch in np.array_split(places, math.ceil(len(places) / size)):
            yield _part(particles, batch, config, source)
            done += len(batch)
            event = {"event": "progress", "stage": "inserting", "iteration": done, "of": count}
            on_event(event)
