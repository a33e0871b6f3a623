"""The steps that a selection goes through, each a change of the table with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from vitreous.jobs.check.pick_findings import micrograph_pixel
from vitreous.jobs.config_particles import SelectConfig
from vitreous.jobs.particles.classes import GROUP, GROUP_NAME, scale_corrections
from vitreous.particles.groups import halves, regrouped
from vitreous.particles.poses import origins_to_coordinates, positions, recentred
from vitreous.particles.selection import (
    at_most,
    class_numbers,
    class_posterior,
    codes,
    in_classes,
    merit,
    pose_posterior,
    random_rows,
    where,
)
from vitreous.particles.table import ParticleTable
from vitreous.validate.duplicates import redundant

_MICROGRAPH, _SUBSET = "rlnMicrographName", "rlnRandomSubset"

Change = Callable[[ParticleTable], ParticleTable]


def _keeping(rows: Callable[[ParticleTable], np.ndarray]) -> Change:
    """Change that keeps rows, told by their numbers or by truth values."""
    return lambda table: table.take(np.arange(len(table))[rows(table)])


def _filters(config: SelectConfig, chosen: Sequence[int]) -> Iterator[tuple[str, Change]]:
    if chosen:
        words = f"in class {', '.join(map(str, chosen))}"
        yield words, _keeping(lambda table: in_classes(table, chosen))
    for condition in config.where:
        yield condition, _keeping(partial(where, condition=condition))
    least = config.min_posterior
    if least is not None:
        yield f"posterior of {least:g}", _keeping(lambda table: pose_posterior(table) >= least)
    surest = config.min_class_posterior
    if surest is not None:
        words = f"posterior of the class of {surest:g}"
        yield words, _keeping(lambda table: class_posterior(table) >= surest)


def _coordinate_pixel(config: SelectConfig, table: ParticleTable) -> float:
    return config.coordinate_pixel_size or micrograph_pixel(table)


def _apart(config: SelectConfig, table: ParticleTable, distance: float) -> np.ndarray:
    """Which particles remain when of those too near each other only the best does."""
    places = positions(table, _coordinate_pixel(config, table))
    return ~redundant(places, codes(table, _MICROGRAPH), distance, merit(table))


def _places(config: SelectConfig) -> Iterator[tuple[str, Change]]:
    point, distance = config.recentre, config.min_distance
    if point is not None:
        words = f"centred on {', '.join(f'{x:g}' for x in point)} A"
        yield words, lambda table: recentred(table, np.array(point))
    if distance is not None:
        words = f"{distance:g} A apart"
        yield words, _keeping(lambda table: _apart(config, table, distance))
    if config.origins_to_coordinates:
        yield (
            "origins moved into coordinates",
            lambda table: origins_to_coordinates(table, _coordinate_pixel(config, table)),
        )


def _limits(config: SelectConfig) -> Iterator[tuple[str, Change]]:
    most, number = config.max_per_class, config.random
    if most is not None:
        words = f"at most {most} a class"
        yield words, _keeping(lambda table: at_most(class_numbers(table), most, config.seed))
    if number is not None:
        words = f"{number} at random"
        yield words, _keeping(lambda table: random_rows(len(table), number, config.seed))


def row_steps(config: SelectConfig, chosen: Sequence[int]) -> Iterator[tuple[str, Change]]:
    """Steps that choose particles, or change where they are centred, by name.

    Parameters
    ----------
    config : SelectConfig
    chosen : sequence of int
        Classes to keep; all if empty.
    """
    yield from _filters(config, chosen)
    yield from _places(config)
    yield from _limits(config)


def halved(config: SelectConfig, table: ParticleTable) -> ParticleTable:
    """Table dealt into two random halves, rlnRandomSubset."""
    unit = "rlnImageName" if config.halves == "particles" else _MICROGRAPH
    return table.with_cells(**{_SUBSET: halves(codes(table, unit), config.seed)})


def _likeness(table: ParticleTable) -> np.ndarray:
    """Scale of each particle's group, or else how many particles its micrograph has."""
    scale = scale_corrections(table)
    if scale is not None:
        return scale
    micrograph = codes(table, _MICROGRAPH)
    return np.bincount(micrograph)[micrograph].astype(np.float64)


def with_groups(table: ParticleTable, least: int) -> tuple[ParticleTable, list[str]]:
    """Table whose micrographs are in groups of at least ``least`` particles, and warnings."""
    grouping = regrouped(codes(table, _MICROGRAPH), table.group, _likeness(table), least)
    cells = {
        GROUP: grouping.group + 1,
        GROUP_NAME: np.array([f"group_{number + 1:04d}" for number in grouping.group]),
    }
    small = int((grouping.sizes < least).sum())
    words = f"{small} of {len(grouping.sizes)} groups have fewer than {least} particles: their "
    warnings = [words + "optics group has no more"] if small else []
    return table.with_cells(**cells), warnings
