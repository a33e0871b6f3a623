"""How particles went from class to class over the passes, as bands between stacked columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from vitreous.report.chart import WIDE, Area, Axis, Chart, colour

_COLUMN = 0.08
"""Half the width of a pass's column, in passes."""

_SHOWN = 0.002
"""Share of the particles below which a band is left out."""


def _bend(points: int = 24) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Way from one column to the next, and how far a band has risen there: both from 0 to 1."""
    way = np.linspace(0, 1, points)
    return way, way * way * (3 - 2 * way)


def _bands(place: int, share: Float[np.ndarray, "k k"]) -> list[Area]:
    """Bands from a pass to the next, in the order of the classes that they go to."""
    way, risen = _bend()
    left = np.cumsum(share.ravel()).reshape(share.shape) - share
    right = (np.cumsum(share.T.ravel()).reshape(share.shape) - share.T).T
    x = (place + _COLUMN + way * (1 - 2 * _COLUMN)).tolist()
    bands = []
    for (here, there), width in np.ndenumerate(share):
        if width > _SHOWN:
            low = left[here, there] + risen * (right[here, there] - left[here, there])
            high = (low + width).tolist()
            bands.append(Area(x, low.tolist(), high, colour=colour(here + 1), opacity=0.4))
    return bands


def _column(place: int, shares: Float[np.ndarray, " k"]) -> list[Area]:
    """A pass's classes, one on another."""
    x, parts, low = [place - _COLUMN, place + _COLUMN], [], 0.0
    for number, width in enumerate(shares, 1):
        name = f"class {number}" if place == 1 else ""
        parts.append(Area(x, [low, low], [low + width, low + width], name, colour(number)))
        low += width
    return parts


def flow_chart(flow: Sequence[Int[np.ndarray, "k k"]], alt: str) -> str:
    """Classes as columns for each pass, and the particles that stayed or went as bands.

    Parameters
    ----------
    flow : sequence of arrays (classes, classes)
        From each pass (rows) to the next (columns).
    alt : str
    """
    shares = [table / flow[0].sum() for table in flow]
    columns = [shares[0].sum(axis=1), *(table.sum(axis=0) for table in shares)]
    areas = [band for place, share in enumerate(shares, 1) for band in _bands(place, share)]
    areas += [part for place, column in enumerate(columns, 1) for part in _column(place, column)]
    ticks = [(float(place), str(place)) for place in range(1, len(columns) + 1)]
    return Chart(
        Axis("pass", (1 - 2 * _COLUMN, len(columns) + 2 * _COLUMN), ticks),
        Axis("share of particles", (0.0, 1.0)),
        alt,
        areas=areas,
        size=WIDE,
    ).svg()
