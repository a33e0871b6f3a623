"""Curves over resolution that validate a map: FSC, cones, Guinier plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vitreous.report.chart import COLOURS, GREY, NORMAL, WIDE, Area, Axis, Chart, Line, Rule, colour
from vitreous.report.charts import resolution_axis

THRESHOLDS = (0.5, 0.143)
"""FSC that resolution is read at."""

_LIMITS = [Rule(threshold, word=f"{threshold}") for threshold in THRESHOLDS]

_FSC = Axis("FSC", (-0.08, 1.02), [(v / 5, f"{v / 5:g}") for v in range(6)])


def _fsc(
    frequency: Float[np.ndarray, " s"],
    lines: Sequence[Line],
    alt: str,
    areas: Sequence[Area] = (),
    size: tuple[int, int] = WIDE,
) -> str:
    axis = resolution_axis(float(frequency[-1]))
    return Chart(axis, _FSC, alt, lines, areas, _LIMITS, size).svg()


def fsc_chart(
    frequency: Float[np.ndarray, " s"],
    lines: Sequence[tuple[str, Float[np.ndarray, " s"]]],
    alt: str,
) -> str:
    """Named FSC curves over frequency (1/angstrom), the first one on top."""
    drawn = [
        Line(frequency.tolist(), values.tolist(), name, colour(place), 2.4 if place == 1 else 1.4)
        for place, (name, values) in enumerate(lines, 1)
    ]
    return _fsc(frequency, [*drawn[1:], drawn[0]], alt)


def fsc_over_passes(
    frequency: Float[np.ndarray, " s"], curves: Sequence[Float[np.ndarray, " s"]], alt: str
) -> str:
    """FSC curves of passes, in order, from pale to dark."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = colormaps["viridis"](np.linspace(0.9, 0.1, len(curves)))
    lines = []
    for number, (values, shade) in enumerate(zip(curves, shades, strict=True), 1):
        named = f"pass {number}" if number in (1, len(curves)) else ""
        x = frequency[: len(values)].tolist()
        lines.append(Line(x, values.tolist(), named, to_hex(shade), 1.3))
    return _fsc(frequency, lines, alt, size=NORMAL)


def cone_chart(
    frequency: Float[np.ndarray, " s"], curves: Float[np.ndarray, "d s"], alt: str
) -> str:
    """Range of the curves of all directions, their mean, the best and the worst."""
    order = curves.sum(axis=1).argsort()
    x = frequency.tolist()
    area = Area(
        x, curves.min(axis=0).tolist(), curves.max(axis=0).tolist(), "all directions", GREY, 0.25
    )
    lines = [
        Line(x, curves.mean(axis=0).tolist(), "mean", COLOURS[0], 2.4),
        Line(x, curves[order[-1]].tolist(), "best", COLOURS[4], 1.4),
        Line(x, curves[order[0]].tolist(), "worst", COLOURS[1], 1.4),
    ]
    return _fsc(frequency, lines, alt, [area])


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
    x = squared.tolist()
    lines = [
        Line(x, log_amplitude.tolist(), "map", GREY, 1.4),
        Line(x, log_weighted.tolist(), "weighted by the FSC", COLOURS[0]),
        Line(ends, [intercept + slope * end for end in ends], "fit", COLOURS[1], dashed=True),
    ]
    axes = Axis("1 / resolution² (1/Å²)"), Axis("ln of mean amplitude")
    return Chart(*axes, alt, lines).svg()
