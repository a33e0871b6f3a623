"""Particles of several tables: those in all, those not in some, and all together."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import numpy as np

from vitreous.config.particles import SelectConfig
from vitreous.errors import InputError
from vitreous.jobs.particles.steps import Selected, Step, pixels_of_places
from vitreous.particles.files import placed, read_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.sets import Matching, joined, shared


def _shared(table: ParticleSet, other: ParticleSet, config: SelectConfig) -> np.ndarray:
    matching = Matching(config.match, config.match_distance)
    if config.match == "image":
        return shared(table, other, matching)
    sizes = [pixels_of_places(config, one).sizes for one in (table, other)]
    return shared(table, other, matching, sizes)


def _kept(before: Selected, path: Path, config: SelectConfig, *, inside: bool) -> Selected:
    """Particles that another table has, or those that it has not."""
    here = _shared(before.table, read_particles(path, need_images=False), config)
    left = before.table.take(np.flatnonzero(here == inside))
    what = f"{'in' if inside else 'not in'} {path.name}"
    if not len(left):
        raise InputError(
            f"no particle is left of {len(before.table)} after the step {what!r}",
            where=before.table.path,
            hint="match by --match place if the images were extracted again",
        )
    return before.then(what, left)


def _joined(before: Selected, path: Path, config: SelectConfig) -> Selected:
    """Particles with those of another table that are not there yet."""
    other = read_particles(path, need_images=False)
    new = np.flatnonzero(~_shared(other, before.table, config))
    what = f"joined with {path.name}"
    if not len(new):
        return before.then(what, before.table, f"{path} adds no particle that is not there yet.")
    folder = config.out.parent
    both, left_out = joined(
        placed(before.table, folder), placed(other.take(new), folder), config.out
    )
    lost = f"Only one of {before.table.path.name} and {path.name} has the columns "
    warnings = [f"{lost}{', '.join(left_out)}: they are left out."] if left_out else []
    return before.then(what, both, *warnings)


def combined(table: ParticleSet, config: SelectConfig) -> Selected:
    """Table with what other tables take away and add.

    Raises
    ------
    InputError
        For tables that cannot be read or matched, and where no particle is left.
    """
    start = Selected(table, (Step("read", len(table)),))
    inside = reduce(lambda c, path: _kept(c, path, config, inside=True), config.and_, start)
    outside = reduce(lambda c, path: _kept(c, path, config, inside=False), config.not_, inside)
    return reduce(lambda c, path: _joined(c, path, config), config.join, outside)
