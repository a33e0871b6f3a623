"""How particles went from class to class over the passes, as bands between stacked columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from vitreous.report.svg import colour, legend_above, new_figure, styled, svg_text

_COLUMN = 0.08
"""Half the width of a pass's column, in passes."""

_SHOWN = 0.002
"""Share of the particles below which a band is left out."""


def _bend(points: int = 24) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Way from one column to the next, and how far a band has risen there: both from 0 to 1."""
    way = np.linspace(0, 1, points)
    return way, way * way * (3 - 2 * way)


def flow_chart(flow: Sequence[Int[np.ndarray, "k k"]], alt: str) -> str:
    """Classes as columns for each pass, and the particles that stayed or went as bands.

    Parameters
    ----------
    flow : sequence of arrays (classes, classes)
        From each pass (rows) to the next (columns).
    alt : str
    """
    total = flow[0].sum()
    way, risen = _bend()
    with styled():
        figure, axes = new_figure(max(3.9, 0.9 * len(flow) + 1.5), 2.8)
        for place, table in enumerate(flow, 1):
            share = table / total
            # Bands leave a class in the order of those they go to, and reach it likewise.
            left = np.cumsum(share.ravel()).reshape(share.shape) - share
            right = (np.cumsum(share.T.ravel()).reshape(share.shape) - share.T).T
            for (here, there), width in np.ndenumerate(share):
                if width > _SHOWN:
                    low = left[here, there] + risen * (right[here, there] - left[here, there])
                    x = place + _COLUMN + way * (1 - 2 * _COLUMN)
                    axes.fill_between(x, low, low + width, color=colour(here + 1), alpha=0.4, lw=0)
        columns = [flow[0].sum(axis=1), *(table.sum(axis=0) for table in flow)]
        for place, column in enumerate(columns, 1):
            low = 0.0
            for number, width in enumerate(column / total, 1):
                label = f"class {number}" if place == 1 else None
                axes.bar(place, width, 2 * _COLUMN, bottom=low, color=colour(number), label=label)
                low += width
        legend_above(axes, 8)
        axes.set_xticks(range(1, len(columns) + 1))
        axes.set(xlabel="pass", ylabel="share of particles", ylim=(0, 1))
        return svg_text(figure, alt)
