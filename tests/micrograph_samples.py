"""Small micrographs in a RELION project, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from vitreous.io.mrc import write_map
from vitreous.io.star import StarBlock, write_star

PIXEL = 1.4
OPTICS = {
    "rlnOpticsGroupName": "session1",
    "rlnOpticsGroup": "1",
    "rlnMicrographOriginalPixelSize": "1.4",
    "rlnVoltage": "300",
    "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.1",
    "rlnMicrographPixelSize": "1.4",
}
CTF = {
    "rlnDefocusU": "15500.0",
    "rlnDefocusV": "15000.0",
    "rlnDefocusAngle": "35.0",
    "rlnPhaseShift": "0.0",
}


def write_micrograph(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_map(path, image[None].astype(np.float32), PIXEL)


def write_table(path: Path, names: Sequence[str], **columns: Sequence[str]) -> Path:
    """A STAR file of micrographs with one CTF, and further columns."""
    rows = [{"rlnMicrographName": name, "rlnOpticsGroup": "1", **CTF} for name in names]
    frame = pl.DataFrame(rows).with_columns(
        pl.Series(name, cells, dtype=pl.String) for name, cells in columns.items()
    )
    optics = StarBlock("optics", pl.DataFrame([OPTICS]))
    write_star(path, [optics, StarBlock("micrographs", frame)])
    return path


def write_coordinates(path: Path, xy: np.ndarray, **columns: Sequence[str]) -> Path:
    """A STAR file of picks as RELION's picker leaves it."""
    cells = {"rlnCoordinateX": xy[:, 0], "rlnCoordinateY": xy[:, 1]}
    frame = pl.DataFrame({name: [f"{v:.6f}" for v in column] for name, column in cells.items()})
    write_star(
        path, [StarBlock("", frame.with_columns(pl.Series(n, c) for n, c in columns.items()))]
    )
    return path
