"""The particles' diameter found on some micrographs, where it is not given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitreous.errors import VitreousError
from vitreous.io.mrc import read_micrograph
from vitreous.particles.relion.micrograph_table import MicrographTable, read_micrographs
from vitreous.preprocessing.picking.diameter import sizes, standing_out, tried
from vitreous.runs.folder import OnEvent

_MOST = 4
"""Micrographs that are looked at."""


def _some(table: MicrographTable) -> MicrographTable:
    """A few micrographs that are not rejected, evenly from the table."""
    rows = np.flatnonzero(~table.rejected)
    places = np.linspace(0, len(rows) - 1, min(_MOST, len(rows))).round().astype(int)
    return table.take(rows[places])


def _images(table: MicrographTable) -> tuple[list[np.ndarray], list[float]]:
    """Micrographs that can be read, and their pixel sizes."""
    images, pixels = [], []
    for row, path in enumerate(table.images):
        try:
            image = read_micrograph(path)
        except VitreousError:  # the picking tells of it
            continue
        if float(image.std()) > 0:
            images.append(image)
            pixels.append(table.optics_of(row).pixel_size)
    return images, pixels


def find_diameter(micrographs: Path, tell: OnEvent) -> dict[str, Any] | None:
    """Find the particles' diameter on a few micrographs.

    Parameters
    ----------
    micrographs : Path
        Their table.
    tell : callable
        Is told of the progress.

    Returns
    -------
    found : dict or None
        The particles' ``diameter``, the ``shape`` (blob or ball) and ``size`` that stand out, both
        in angstrom, how many ``picks`` of about that size there are on so many ``micrographs``, and
        of each size the blobs and balls, ``trials``; None where no size stands out.
    """
    images, pixels = _images(_some(read_micrographs(micrographs)))
    if not images:
        return None
    narrowest = min(min(i.shape) * p for i, p in zip(images, pixels, strict=True))
    fitting = [size for size in sizes() if 4 * size <= narrowest]
    trials = []
    for number, size in enumerate(fitting, 1):
        trials.append(tried(images, pixels, size))
        tell(
            {
                "event": "diameter",
                "stage": "diameter",
                "iteration": number,
                "of": len(fitting),
                "size": size,
                "blobs": trials[-1].blobs,
                "balls": trials[-1].balls,
            }
        )
    found = standing_out(trials, len(images)) if trials else None
    if found is None:
        return None
    return {
        "diameter": float(round(found.diameter)),
        "shape": found.shape,
        "size": round(found.size, 1),
        "picks": found.picks,
        "micrographs": len(images),
        "trials": [[round(t.size, 1), t.blobs, t.balls] for t in trials],
    }
