"""The STAR file of a movie's motion, as RELION's polishing reads it.

RELION holds the shifts that put frames in place, so minus the displacement of the content; of the
local ones a polynomial: second order in x and y (from -1/2 to 1/2), third in the frame's number
from 0, without a constant in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import numbers
from vitreous.particles.relion.names import MOTION_COLUMNS, MOTION_GENERAL

_POLYNOMIAL, _NONE = 1, 0
"""Versions of the local model."""


def polynomial_terms(
    frames: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 18"]:
    """Terms of RELION's local model: z, z^2, z^3 times 1, x, x^2, y, y^2, x y."""
    space = np.stack([np.ones_like(x), x, x**2, y, y**2, x * y], -1)
    time = np.stack([frames, frames**2, frames**3], -1)
    return (space[:, :, None] * time[:, None]).reshape(len(frames), 18)


def fitted_polynomial(
    local: Float[np.ndarray, "t n m 2"], y: Float[np.ndarray, " n"], x: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "2 18"]:
    """Coefficients, along x and y, of the polynomial nearest to local displacements.

    Parameters
    ----------
    local : array (frames, n, m, 2)
        Along x and y, pixels, at the places of a grid, less what all places share.
    y, x : arrays
        Places, from 0 to 1.
    """
    frame, row, column = np.meshgrid(
        np.arange(len(local), dtype=float), y - 0.5, x - 0.5, indexing="ij"
    )
    terms = polynomial_terms(frame.ravel(), row.ravel(), column.ravel())
    scale = np.abs(terms).max(0)
    found, *_ = np.linalg.lstsq(terms / np.maximum(scale, 1e-12), local.reshape(-1, 2), rcond=None)
    return (found / np.maximum(scale, 1e-12)[:, None]).T


def _loop(name: str, **columns: Any) -> StarBlock:
    frame = {
        MOTION_COLUMNS[key]: [f"{v:.6g}" if isinstance(v, float) else str(v) for v in values]
        for key, values in columns.items()
    }
    return StarBlock(name, pl.DataFrame(frame))


def write_motion(
    path: Path,
    general: Mapping[str, str | float],
    curve: Float[np.ndarray, "t 2"],
    coefficients: Float[np.ndarray, "2 18"] | None,
    tracks: tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, "p t 2"]],
    defects: Int[np.ndarray, "n 2"],
) -> None:
    """Write a movie's motion.

    Parameters
    ----------
    path : Path
    general : mapping
        By the keys of ``MOTION_GENERAL``.
    curve : array (frames, 2)
        Displacement of the whole along x and y, pixels of the movie.
    coefficients : array (2, 18), optional
        Of the local displacements, along x and y.
    tracks : two arrays (places, 2) and (places, frames, 2)
        Places (x, y) in pixels, and the local displacements there.
    defects : array (n, 2)
        Rows and columns of pixels that were filled.
    """
    version = _NONE if coefficients is None else _POLYNOMIAL
    cells = {
        MOTION_GENERAL[key]: [f"{v:.6f}" if isinstance(v, float) else str(v)]
        for key, v in {**general, "model": version}.items()
    }
    frames = list(range(1, len(curve) + 1))
    shifts = {"shift_x": (-curve[:, 0]).tolist(), "shift_y": (-curve[:, 1]).tolist()}
    blocks = [
        StarBlock("general", pl.DataFrame(cells), is_loop=False),
        _loop("global_shift", frame=frames, **shifts),
    ]
    if coefficients is not None:
        values = (-coefficients).ravel().tolist()
        blocks.append(_loop("local_motion_model", index=range(len(values)), coefficient=values))
    if len(defects):
        x, y = defects[:, 1].astype(float).tolist(), defects[:, 0].astype(float).tolist()
        blocks.append(_loop("hot_pixels", x=x, y=y))
    places, local = tracks
    if coefficients is not None:
        every = np.repeat(places, len(frames), 0)
        blocks.append(
            _loop(
                "local_shift",
                frame=frames * len(places),
                x=every[:, 0].tolist(),
                y=every[:, 1].tolist(),
                shift_x=(-local[..., 0]).ravel().tolist(),
                shift_y=(-local[..., 1]).ravel().tolist(),
            )
        )
    write_star(path, blocks)


def read_tracks(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Curve (frames, 2), places (p, 2) and local displacements (p, frames, 2) of a movie."""
    blocks = read_star(path)

    def columns(block: StarBlock, keys: Sequence[str]) -> np.ndarray:
        return np.stack([numbers(block, MOTION_COLUMNS[key], path) for key in keys], -1)

    curve = -columns(blocks["global_shift"], ("shift_x", "shift_y"))
    if "local_shift" not in blocks:
        return curve, np.zeros((0, 2)), np.zeros((0, len(curve), 2))
    block = blocks["local_shift"]
    places = columns(block, ("x", "y")).reshape(-1, len(curve), 2)[:, 0]
    local = -columns(block, ("shift_x", "shift_y")).reshape(-1, len(curve), 2)
    return curve, places, local
