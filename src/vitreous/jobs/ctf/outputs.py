"""The refined values in the table's own columns, and beside what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.config.ctf import CtfRefineConfig
from vitreous.imaging.astigmatism import to_components
from vitreous.io.atomic import atomic_path
from vitreous.io.mrc import stack_writer
from vitreous.io.star import StarBlock
from vitreous.jobs.ctf.comparison import RunContext
from vitreous.particles.columns import as_cells
from vitreous.particles.optics import MAG_COLUMNS, OpticsGroup
from vitreous.particles.table import ParticleTable

_TILT = ("rlnBeamTiltX", "rlnBeamTiltY")


def _cells_of(group: OpticsGroup, config: CtfRefineConfig) -> dict[str, str]:
    cells: dict[str, str] = {}
    if config.beam_tilt:
        cells |= {name: f"{v:.6f}" for name, v in zip(_TILT, group.beam_tilt, strict=True)}
    if config.trefoil:
        cells["rlnOddZernike"] = f"[{','.join(f'{c:.6g}' for c in group.odd_zernike)}]"
    if config.magnification:
        cells |= {name: f"{v:.6f}" for name, v in zip(MAG_COLUMNS, group.mag_matrix, strict=True)}
    return cells


_NEUTRAL = {"rlnMagMat00": "1.0", "rlnMagMat11": "1.0", "rlnOddZernike": "[0,0,0,0,0,0]"}
"""What groups without particles get in new columns; 0 in the others."""


def _optics_block(block: StarBlock, table: ParticleTable, config: CtfRefineConfig) -> StarBlock:
    frame = block.frame
    refined = {r: _cells_of(table.optics[place], config) for place, r in table.optics_rows.items()}
    for name in next(iter(refined.values())):
        default = pl.Series([_NEUTRAL.get(name, "0.0")] * len(frame))
        old = frame[name] if name in frame.columns else default
        cells = [refined[row][name] if row in refined else cell for row, cell in enumerate(old)]
        frame = frame.with_columns(pl.Series(name, cells))
    return block.with_frame(frame)


def written_table(context: RunContext, config: CtfRefineConfig) -> ParticleTable:
    """Table whose blocks hold what was refined; all else stands as it was read."""
    table = context.table
    if config.defocus or config.astigmatism or config.magnification:
        columns = {
            "rlnDefocusU": table.defocus_u,
            "rlnDefocusV": table.defocus_v,
            "rlnDefocusAngle": table.defocus_angle,
        }
        cells = {name: as_cells(name, np.asarray(values)) for name, values in columns.items()}
        table = replace(
            table, block=table.block.with_frame(table.block.frame.with_columns(**cells))
        )
    if config.beam_tilt or config.trefoil:
        angles, origins = context.poses.angles.T, context.poses.origins.T
        table = table.with_poses(*angles, *origins)
    if table.optics_block is not None:
        table = replace(table, optics_block=_optics_block(table.optics_block, table, config))
    return table


_PARTS = ("mean", "cosine", "sine")
_PLACES = {"micrograph": "rlnMicrographName", "x": "rlnCoordinateX", "y": "rlnCoordinateY"}


def write_changes(out: Path, before: ParticleTable, after: ParticleTable) -> None:
    """Write each particle's mean defocus and astigmatism, before and after, as ``changes.csv``.

    Angstrom, in the components of :mod:`vitreous.imaging.astigmatism`; the place in the micrograph
    as far as the table holds it.
    """
    columns: dict[str, Any] = {"optics_group": [after.optics[g].number for g in after.group]}
    for label, table in (("before", before), ("after", after)):
        defocus = (table.defocus_u, table.defocus_v, table.defocus_angle)
        components = to_components(*(np.asarray(column) for column in defocus)).T
        columns |= {f"{part}_{label}": c for part, c in zip(_PARTS, components, strict=True)}
    frame = before.block.frame
    places = {label: frame[name] for label, name in _PLACES.items() if name in frame.columns}
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
