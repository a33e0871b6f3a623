"""The way back from another format: cells of the file before stand wherever nothing was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool

from vitreous.particles.carried import Carried
from vitreous.particles.conversion import FIELDS, settled
from vitreous.particles.cryosparc.columns import CryosparcColumns
from vitreous.particles.fields import Field
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.side_table import SideTable

_OPTICS = (
    *("pixel_size", "box", "voltage", "cs", "amplitude_contrast"),
    *("beam_tilt", "mag_matrix", "odd_zernike", "even_zernike"),
)
"""Attributes of optics groups that are compared; numbers and names are each format's own."""


@dataclass(frozen=True)
class Known:
    """What a format has columns for, and how finely it writes them.

    Attributes
    ----------
    fields : tuple of Field
    optics : tuple of str
        Attributes of optics groups.
    tolerance : float
        Difference of numbers that is no change.
    """

    fields: tuple[Field[Any], ...] = FIELDS
    optics: tuple[str, ...] = _OPTICS
    tolerance: float = 0.0


def _keys(particles: ParticleSet, uids: pl.Series | None) -> pl.DataFrame:
    """What particles are known by: their uids, or else their images."""
    if uids is not None:
        return pl.DataFrame({"uid": uids})
    names = pl.Series([stack.name for stack in particles.stacks], dtype=pl.String)
    return pl.DataFrame(
        {"file": names.gather(particles.stack_of), "index": particles.index_in_stack}
    )


def as_before(particles: ParticleSet, side: SideTable) -> ParticleSet | None:
    """The same particles as a side table has them; None if one of them is not in it."""
    uids = particles.uid
    mine = _keys(particles, uids)
    theirs = _keys(side.particles, None if uids is None else side.uids)
    old = side.particles
    if not mine.equals(theirs):
        known = theirs.with_columns(row=np.arange(len(theirs)))
        found = mine.join(known, on=mine.columns, how="left", maintain_order="left")["row"]
        if found.null_count() or len(found) != len(particles):
            return None
        old = old.take(found.to_numpy())
    return old


def _changed(before: Any, after: Any, tolerance: float) -> Bool[np.ndarray, " n"]:
    """Rows whose values differ."""
    if isinstance(after, pl.Series):
        return (after != before).fill_null(True).to_numpy()
    same = (before == after) | ((before != before) & (after != after))
    differ = ~same if not tolerance else ~(same | (np.abs(after - before) <= tolerance))
    return differ.reshape(len(differ), -1).any(axis=1)


def _holds_same(before: Carried, after: Carried, field: Field[Any]) -> bool:
    """Whether a field need not be read to see that it is the same."""
    if isinstance(before, CryosparcColumns) and isinstance(after, CryosparcColumns):
        return before.holds_same(after, field)
    return False


def _with_changed(carried: Carried, field: Field[Any], values: Any, rows: np.ndarray) -> Carried:
    """Columns with a field's values in some rows; the others' cells stay as they are."""
    after = carried.with_fields({field: values})
    if isinstance(after, CryosparcColumns) and isinstance(carried, CryosparcColumns):
        old = carried.columns
        kept = {
            name: np.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old[name])
            for name, new in after.columns.items()
            if name in old and new is not old[name] and new.shape == old[name].shape
        }
        return replace(after, columns={**after.columns, **kept})
    if isinstance(after, RelionColumns) and isinstance(carried, RelionColumns):
        before, frame = carried.particles.frame, after.particles.frame
        mask = pl.Series(rows)
        cells = [
            frame[name].zip_with(mask, before[name])
            for name in frame.columns
            if name in before.columns
        ]
        return replace(after, particles=after.particles.with_frame(frame.with_columns(cells)))
    return after


def _with_fields(
    old: ParticleSet, before: ParticleSet, now: ParticleSet, known: Known
) -> ParticleSet:
    """Particles of the file before with the fields that were changed since."""
    carried, gone = old.carried, []
    for field in known.fields:
        if field is ParticleSet.uid or _holds_same(before.carried, now.carried, field):
            continue
        was, new = before.of_field(field), now.of_field(field)
        if new is None:
            gone += [] if was is None else [field]
        elif was is None or getattr(was, "shape", None) != getattr(new, "shape", None):
            carried = carried.with_fields({field: new})
        elif (rows := _changed(was, new, known.tolerance)).any():
            carried = _with_changed(carried, field, new, rows)
    return replace(old, carried=carried.without(*gone) if gone else carried)


def _with_optics(
    old: ParticleSet, before: ParticleSet, now: ParticleSet, known: Known
) -> ParticleSet:
    """Particles of the file before with the attributes of optics groups changed since."""
    names, groups = [], {}
    for place, group in enumerate(old.optics):
        row = np.flatnonzero(old.group == place)[:1]
        if not len(row):
            continue
        was, new = before.optics[before.group[row[0]]], now.optics[now.group[row[0]]]
        other = [name for name in known.optics if getattr(was, name) != getattr(new, name)]
        if other:
            names += other
            groups[place] = replace(group, **{name: getattr(new, name) for name in other})
    return old.with_optics(groups, *dict.fromkeys(names)) if groups else old


@dataclass(frozen=True)
class Restored:
    """Particles in the format that they had before.

    Attributes
    ----------
    particles : ParticleSet
    unknown : tuple of str
        Columns that were added since, and that this format has no counterpart for.
    """

    particles: ParticleSet
    unknown: tuple[str, ...]


def restored(
    particles: ParticleSet,
    old: ParticleSet,
    convert: Callable[[ParticleSet], ParticleSet],
    known: Known = Known(),
) -> Restored:
    """Particles in the format that they had before.

    Parameters
    ----------
    particles : ParticleSet
        As they are now.
    old : ParticleSet
        As they were, in the other format: :func:`as_before`.
    convert : callable
        What was done to those to make a file in the format of ``particles``.
    known : Known
        What that format has columns for.
    """
    uids = particles.uid  # given, they need not be made of the images' names again
    before = settled(convert(old if uids is None else old.with_fields(uid=uids)))
    unknown = tuple(name for name in particles.columns if name not in before.columns)
    changed = _with_fields(_with_optics(old, before, particles, known), before, particles, known)
    return Restored(changed, unknown)
