"""The refined values in the table's own columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from vitreous.io.star import StarBlock
from vitreous.jobs.config_ctf import CtfRefineConfig
from vitreous.jobs.ctf.comparison import Problem
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
    groups = frame["rlnOpticsGroup"] if "rlnOpticsGroup" in frame.columns else pl.Series(["1"])
    numbers = groups.cast(pl.Float64).cast(pl.Int64).to_list()
    refined = {group.number: _cells_of(group, config) for group in table.optics}
    for name in next(iter(refined.values())):
        default = pl.Series([_NEUTRAL.get(name, "0.0")] * len(frame))
        old = frame[name] if name in frame.columns else default
        cells = [
            refined[number][name] if number in refined else cell
            for number, cell in zip(numbers, old, strict=True)
        ]
        frame = frame.with_columns(pl.Series(name, cells))
    return block.with_frame(frame)


def written_table(problem: Problem, config: CtfRefineConfig) -> ParticleTable:
    """Table whose blocks hold what was refined; all else stands as it was read."""
    table = problem.table
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
        angles, origins = problem.poses.angles.T, problem.poses.origins.T
        table = table.with_poses(*angles, *origins)
    if table.optics_block is not None:
        table = replace(table, optics_block=_optics_block(table.optics_block, table, config))
    return table
