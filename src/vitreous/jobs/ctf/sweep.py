"""What every pass over the particles does, and how its result changes what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.imaging.astigmatism import from_components, to_components
from vitreous.jobs.ctf.comparison import Band, Compared, Problem, band_of, batches, compare
from vitreous.jobs.ctf.scale import measured_scale
from vitreous.runs.folder import OnEvent

Done = Callable[[int], None]
"""Told of how many more particles are done."""


def counter(stage: str, total: int, on_event: OnEvent) -> Done:
    """Tell of particles done as progress of a stage."""
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        on_event({"event": "progress", "stage": stage, "iteration": done, "of": total})

    return more


def groups(problem: Problem) -> Iterator[tuple[int, Band, np.ndarray]]:
    """Index, frequencies and rows of every optics group."""
    table = problem.table
    for number, group in enumerate(table.optics):
        band = band_of(group, problem.finest, problem.coarsest)
        yield number, band, np.flatnonzero(table.group == number)


def compared(
    problem: Problem, band: Band, sets: Iterable[np.ndarray], done: Done
) -> Iterator[tuple[int, Compared]]:
    """Comparisons, in units of the noise, of sets of rows of one optics group.

    Yields
    ------
    Index of the set, and the comparison of some of its rows.
    """
    sets, band = list(sets), band.to(problem.device)
    scale = measured_scale(problem, band, np.concatenate(sets))
    for index, rows in enumerate(sets):
        for batch in batches(rows, band):
            yield index, scale.whitened(compare(problem, band, batch))
            done(len(batch))


def with_group(problem: Problem, number: int, **changes: Any) -> Problem:
    """Problem with some values of an optics group changed."""
    optics = list(problem.table.optics)
    optics[number] = replace(optics[number], **changes)
    return replace(problem, table=replace(problem.table, optics=tuple(optics)))


def defocus_components(problem: Problem) -> Float[np.ndarray, "n 3"]:
    """Mean defocus and astigmatism of every particle, as in imaging.astigmatism."""
    table = problem.table
    columns = (table.defocus_u, table.defocus_v, table.defocus_angle)
    return to_components(*(np.asarray(column) for column in columns))


def with_defocus(problem: Problem, components: Float[np.ndarray, "n 3"]) -> Problem:
    """Problem with these in the place of the particles' defocus."""
    u, v, angle = from_components(components)
    table = replace(problem.table, defocus_u=u, defocus_v=v, defocus_angle=angle)
    return replace(problem, table=table)
