"""The refined values in the table's own columns, and beside what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.config.ctf import CtfRefineConfig
from vitreous.imaging.astigmatism import to_components
from vitreous.io.atomic import atomic_path
from vitreous.io.mrc import stack_writer
from vitreous.jobs.ctf.comparison import RunContext
from vitreous.particles.fields import Field
from vitreous.particles.particle_set import ParticleSet

_OF_OPTICS = {"beam_tilt": "beam_tilt", "trefoil": "odd_zernike", "magnification": "mag_matrix"}
"""What of an optics group each option refines."""


def written_table(context: RunContext, config: CtfRefineConfig) -> ParticleSet:
    """Particles with what was refined; all else stands as it was read."""
    table = context.table
    if config.beam_tilt or config.trefoil:
        table = table.with_fields(**context.poses.fields)
    refined = [name for option, name in _OF_OPTICS.items() if getattr(config, option)]
    return table.with_optics(dict(enumerate(table.optics)), *refined)


_PARTS = ("mean", "cosine", "sine")
_PLACES: tuple[Field[Any], ...] = (ParticleSet.micrograph, ParticleSet.x, ParticleSet.y)


def write_changes(out: Path, before: ParticleSet, after: ParticleSet) -> None:
    """Write each particle's mean defocus and astigmatism, before and after, as ``changes.csv``.

    Angstrom, in the components of :mod:`vitreous.imaging.astigmatism`; the place in the micrograph
    as far as the table holds it.
    """
    columns: dict[str, Any] = {"optics_group": [after.optics[g].number for g in after.group]}
    for label, table in (("before", before), ("after", after)):
        defocus = (table.defocus_u, table.defocus_v, table.defocus_angle)
        components = to_components(*(np.asarray(column) for column in defocus)).T
        columns |= {f"{part}_{label}": c for part, c in zip(_PARTS, components, strict=True)}
    found = {field.name: before.if_sound(field) for field in _PLACES}
    places = {name: values for name, values in found.items() if values is not None}
    with atomic_path(out / "changes.csv") as path:
        pl.DataFrame({**places, **columns}).write_csv(path, float_precision=2)


def write_phases(
    out: Path,
    records: Sequence[Mapping[str, Any]],
    pictures: Sequence[Float[np.ndarray, "3 s s"]],
) -> None:
    """Write the phases of each optics group: measured, fitted, and what is left."""
    for record, images in zip(records, pictures, strict=True):
        path = out / f"odd_phases_group{record['group']}.mrcs"
        with stack_writer(path, images.shape[-1], len(images), 1.0) as stack:
            stack.append(images)
