"""Particles selected in steps, each a change of the table with its name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from vitreous.config.particles import Criteria
from vitreous.errors import InputError
from vitreous.jobs.particles.classes import scale_corrections
from vitreous.math.symmetry import point_group
from vitreous.particles.groups import dealt_halves, regrouped
from vitreous.particles.micrographs import (
    CoordinatePixels,
    coordinate_pixels,
    origins_to_coordinates,
    positions,
)
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import ANGLES, recentred
from vitreous.particles.selection import (
    at_most,
    class_numbers,
    class_posterior,
    codes,
    in_classes,
    junk_posterior,
    merit,
    pose_posterior,
    random_rows,
    where,
)
from vitreous.validate.particles.duplicates import redundant
from vitreous.validate.particles.even_views import evened, view_numbers

_AT_OLD_POSES = (
    "the poses were found before these halves were dealt: refine the particles (vitreous refine) "
    "before the halves' FSC is taken for a resolution"
)

Rows = TypeVar("Rows", bound=Sized)
Change = Callable[[ParticleSet], ParticleSet]


@dataclass(frozen=True)
class Step:
    """A step that was taken, and the particles that it left."""

    what: str
    particles: int


def taken(
    table: Rows, changes: Iterable[tuple[str, Callable[[Rows], Rows]]], what: str, path: Path
) -> tuple[list[Step], Rows]:
    """The steps of a selection, and what they leave.

    Parameters
    ----------
    table : sized
    changes : iterable of (str, callable)
        Each step's name, and what it makes of the rows.
    what : str
        What a row is, for the error.
    path : Path
        The table's file.

    Raises
    ------
    InputError
        Where no row is left.
    """
    steps = [Step("read", len(table))]
    for name, change in changes:
        table = change(table)
        if not len(table):
            raise InputError(
                f"no {what} is left of {steps[-1].particles} after the step {name!r}",
                where=path,
                hint="ask for less",
            )
        steps.append(Step(name, len(table)))
    return steps, table


@dataclass(frozen=True)
class Selected:
    """What is left of a table, and how.

    Attributes
    ----------
    table : ParticleSet
    steps : tuple of Step
        The first is the table as it was.
    warnings : tuple of str
    """

    table: ParticleSet
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()

    def then(self, what: str, table: ParticleSet, *warnings: str) -> Selected:
        """The same after one more step."""
        return Selected(table, (*self.steps, Step(what, len(table))), (*self.warnings, *warnings))


def _keeping(rows: Callable[[ParticleSet], np.ndarray]) -> Change:
    """Change that keeps rows, told by their numbers or by truth values."""
    return lambda table: table.take(np.arange(len(table))[rows(table)])


def _filters(criteria: Criteria, classes: Collection[int]) -> Iterator[tuple[str, Change]]:
    if classes:
        words = f"in class {', '.join(map(str, classes))}"
        yield words, _keeping(lambda table: in_classes(table, classes))
    for condition in criteria.where:
        yield condition, _keeping(partial(where, condition=condition))
    least = criteria.min_posterior
    if least is not None:
        yield f"posterior of {least:g}", _keeping(lambda table: pose_posterior(table) >= least)
    surest = criteria.min_class_posterior
    if surest is not None:
        words = f"posterior of the class of {surest:g}"
        yield words, _keeping(lambda table: class_posterior(table) >= surest)
    most = criteria.max_junk
    if most is not None:
        words = f"junk of {most:g} at most"
        yield words, _keeping(lambda table: junk_posterior(table) <= most)


def pixels_of_places(criteria: Criteria, table: ParticleSet) -> CoordinatePixels:
    """Pixel sizes of the coordinates, which must be known to move or compare them."""
    given = criteria.coordinate_pixel_size
    if given is not None:
        return CoordinatePixels(np.full(len(table), given), ("as given",))
    found = coordinate_pixels(table)
    if found.doubt is not None:
        raise InputError(
            f"the pixel size of the coordinates is not known: {found.doubt}",
            where=table.path,
            hint="pass that of the micrographs as --coordinate-pixel-size",
        )
    return found


def _apart(table: ParticleSet, pixels: CoordinatePixels, distance: float) -> np.ndarray:
    """Which particles remain when of those too near each other only the best does."""
    places = positions(table, pixels.sizes)
    return ~redundant(places, codes(table, ParticleSet.micrograph), distance, merit(table))


def _places(criteria: Criteria, table: ParticleSet) -> Iterator[tuple[str, Change]]:
    point, distance = criteria.recentre, criteria.min_distance
    placed = distance is not None or criteria.origins_to_coordinates
    used = f" ({pixels_of_places(criteria, table).words})" if placed else ""
    if point is not None:
        words = f"centred on {', '.join(f'{x:g}' for x in point)} A"
        yield words, lambda table: recentred(table, np.array(point))
    if distance is not None:
        words = f"{distance:g} A apart{used}"
        yield (
            words,
            _keeping(lambda table: _apart(table, pixels_of_places(criteria, table), distance)),
        )
    if criteria.origins_to_coordinates:
        yield (
            f"origins moved into coordinates{used}",
            lambda table: origins_to_coordinates(table, pixels_of_places(criteria, table).sizes),
        )


def _even(table: ParticleSet, criteria: Criteria) -> np.ndarray:
    """Rows of which no view is crowded."""
    assert criteria.even_views is not None
    hint = "give particles with poses, as a refinement writes them"
    rot, tilt = (table.required(field, hint) for field in ANGLES[:2])
    view = view_numbers(rot, tilt, point_group(criteria.symmetry))
    return evened(view, merit(table), criteria.even_views, criteria.seed)


def _views(criteria: Criteria) -> Iterator[tuple[str, Change]]:
    if criteria.even_views is not None:
        words = f"views evened out to the share {criteria.even_views:g}"
        yield words, _keeping(lambda table: _even(table, criteria))


def _limits(criteria: Criteria) -> Iterator[tuple[str, Change]]:
    most, number = criteria.max_per_class, criteria.random
    if most is not None:
        words = f"at most {most} a class"
        yield words, _keeping(lambda table: at_most(class_numbers(table), most, criteria.seed))
    if number is not None:
        words = f"{number} at random"
        yield words, _keeping(lambda table: random_rows(len(table), number, criteria.seed))


def _row_steps(
    criteria: Criteria, table: ParticleSet, classes: Collection[int]
) -> Iterator[tuple[str, Change]]:
    """Steps that choose particles, or change where they are centred, by name."""
    yield from _filters(criteria, classes)
    yield from _places(criteria, table)
    yield from _views(criteria)
    yield from _limits(criteria)


def _halved(criteria: Criteria, table: ParticleSet) -> tuple[ParticleSet, list[str]]:
    """Table dealt into two random halves, and warnings."""
    assert criteria.halves is not None
    found = dealt_halves(table, criteria.halves, criteria.seed)
    return table.with_fields(half=found.half), [_AT_OLD_POSES] if table.has(*ANGLES) else []


def _likeness(table: ParticleSet) -> np.ndarray:
    """Scale of each particle's group, or else how many particles its micrograph has."""
    scale = scale_corrections(table)
    if scale is not None:
        return scale
    micrograph = codes(table, ParticleSet.micrograph)
    return np.bincount(micrograph)[micrograph].astype(np.float64)


def _with_groups(table: ParticleSet, least: int) -> tuple[ParticleSet, list[str]]:
    """Table whose micrographs are in groups of at least ``least`` particles, and warnings."""
    grouping = regrouped(codes(table, ParticleSet.micrograph), table.group, _likeness(table), least)
    names = pl.Series([f"group_{number + 1:04d}" for number in grouping.group])
    grouped = table.with_fields(group_number=grouping.group + 1, group_name=names)
    small = int((grouping.sizes < least).sum())
    words = f"{small} of {len(grouping.sizes)} groups have fewer than {least} particles: their "
    warnings = [words + "optics group has no more"] if small else []
    return grouped, warnings


def select(table: ParticleSet, criteria: Criteria, classes: Collection[int] = ()) -> Selected:
    """Particles that fulfil all criteria, with all their columns.

    Parameters
    ----------
    table : ParticleSet
    criteria : Criteria
    classes : collection of int
        Classes to keep; all if empty.

    Raises
    ------
    VitreousError
        For criteria that the table's columns cannot tell, and where no particle is left.
    """
    warnings = [*table.notes]
    changes = _row_steps(criteria, table, classes)
    steps, table = taken(table, changes, "particle", table.path)
    if criteria.origins_to_coordinates:
        warnings.append("the images are not where the coordinates are now: extract them again")
    if criteria.halves is not None:
        table, more = _halved(criteria, table)
        warnings += more
    if criteria.regroup is not None:
        table, more = _with_groups(table, criteria.regroup)
        warnings += more
    return Selected(table, tuple(steps), tuple(warnings))
