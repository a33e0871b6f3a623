"""What every pass over the particles does, and how its result changes what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.imaging.astigmatism import from_components, to_components
from vitreous.jobs.ctf.comparison import Band, Compared, RunContext, band_of, batches, compare
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


def groups(context: RunContext) -> Iterator[tuple[int, Band, np.ndarray]]:
    """Index, frequencies and rows of every optics group."""
    table = context.table
    for number, group in enumerate(table.optics):
        band = band_of(group, context.finest, context.coarsest)
        yield number, band, np.flatnonzero(table.group == number)


def compared(
    context: RunContext, band: Band, sets: Iterable[np.ndarray], done: Done
) -> Iterator[tuple[int, Compared]]:
    """Comparisons, in units of the noise, of sets of rows of one optics group.

    Yields
    ------
    Index of the set, and the comparison of some of its rows.
    """
    sets, band = list(sets), band.to(context.device)
    scale = measured_scale(context, band, np.concatenate(sets))
    for index, rows in enumerate(sets):
        for batch in batches(rows, band):
            yield index, scale.whitened(compare(context, band, batch))
            done(len(batch))


def with_group(context: RunContext, number: int, **changes: Any) -> RunContext:
    """Problem with some values of an optics group changed."""
    optics = list(context.table.optics)
    optics[number] = replace(optics[number], **changes)
    return replace(context, table=replace(context.table, optics=tuple(optics)))


def defocus_components(context: RunContext) -> Float[np.ndarray, "n 3"]:
    """Mean defocus and astigmatism of every particle, as in imaging.astigmatism."""
    table = context.table
    columns = (table.defocus_u, table.defocus_v, table.defocus_angle)
    return to_components(*(np.asarray(column) for column in columns))


def with_defocus(context: RunContext, components: Float[np.ndarray, "n 3"]) -> RunContext:
    """Problem with these in the place of the particles' defocus."""
    u, v, angle = from_components(components)
    table = context.table.with_fields(defocus_u=u, defocus_v=v, defocus_angle=angle)
    return replace(context, table=table)
