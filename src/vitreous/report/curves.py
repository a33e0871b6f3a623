"""Curves over resolution that validate a map: FSC, cones, Guinier plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vitreous.report.charts import resolution_ticks
from vitreous.report.svg import (
    COLOURS,
    INK,
    NORMAL,
    WIDE,
    colour,
    legend_above,
    new_figure,
    styled,
    svg_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THRESHOLDS = (0.5, 0.143)
"""FSC that resolution is read at."""


def _fsc_axes(axes: Axes, top: float) -> None:
    for threshold in THRESHOLDS:
        axes.axhline(threshold, color=INK, lw=0.7, ls=(0, (4, 3)))
        axes.text(top, threshold, f" {threshold}", va="center", fontsize=8)
    axes.axhline(0, color=INK, lw=0.5)
    ticks = resolution_ticks(top)
    axes.set_xticks([1 / d for d in ticks], [f"{d:g}" for d in ticks])
    axes.set(xlabel="resolution (Å)", ylabel="FSC", xlim=(0, top), ylim=(-0.08, 1.02))


def fsc_chart(
    frequency: Float[np.ndarray, " s"],
    lines: Sequence[tuple[str, Float[np.ndarray, " s"]]],
    alt: str,
) -> str:
    """Named FSC curves over frequency (1/angstrom), the first one on top."""
    with styled():
        figure, axes = new_figure(*WIDE)
        for place, (name, values) in enumerate(lines, 1):
            first = place == 1
            axes.plot(
                frequency,
                values,
                color=colour(place),
                lw=2.0 if first else 1.1,
                zorder=3 if first else 2,
                label=name,
            )
        _fsc_axes(axes, float(frequency[-1]))
        legend_above(axes, 5)
        return svg_text(figure, alt)


def cone_chart(
    frequency: Float[np.ndarray, " s"], curves: Float[np.ndarray, "d s"], alt: str
) -> str:
    """Range of the curves of all directions, their mean, the best and the worst."""
    order = curves.sum(axis=1).argsort()
    with styled():
        figure, axes = new_figure(*WIDE)
        axes.fill_between(
            frequency,
            curves.min(axis=0),
            curves.max(axis=0),
            color="#8a929a",
            alpha=0.25,
            lw=0,
            label="all directions",
        )
        axes.plot(frequency, curves.mean(axis=0), color=COLOURS[0], lw=2.0, label="mean")
        axes.plot(frequency, curves[order[-1]], color=COLOURS[4], lw=1.1, label="best")
        axes.plot(frequency, curves[order[0]], color=COLOURS[1], lw=1.1, label="worst")
        _fsc_axes(axes, float(frequency[-1]))
        legend_above(axes, 5)
        return svg_text(figure, alt)


def guinier_chart(
    squared: Float[np.ndarray, " s"],
    log_amplitude: Float[np.ndarray, " s"],
    log_weighted: Float[np.ndarray, " s"],
    line: tuple[float, float],
    ends: tuple[float, float],
    alt: str,
) -> str:
    """Guinier plot with its fitted line (slope, intercept) between two frequencies squared."""
    slope, intercept = line
    with styled():
        figure, axes = new_figure(*NORMAL)
        axes.plot(squared, log_amplitude, color="#8a929a", lw=1.1, label="map")
        axes.plot(squared, log_weighted, color=COLOURS[0], label="weighted by the FSC")
        x = np.array(ends)
        axes.plot(x, intercept + slope * x, color=COLOURS[1], ls=(0, (4, 3)), label="fit")
        axes.set(xlabel="1 / resolution² (1/Å²)", ylabel="ln of mean amplitude")
        legend_above(axes, 3)
        return svg_text(figure, alt)
