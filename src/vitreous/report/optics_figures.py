"""Pictures of refined optics: defocus, astigmatism, phases and magnification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vitreous.report.chart import GREY, Area, Axis, Chart, Line, Rule, equal_axes
from vitreous.report.charts import histogram
from vitreous.report.panels import Bar, Panel, Spot, side_by_side

Values = Float[np.ndarray, " n"]

_BINS = 40

_CYCLIC, _DIVERGING = "twilight_shifted", "coolwarm"

_FIELD, _DISC = 200.0, 3.0
"""Width of a micrograph with its particles, and radius of a particle."""

_PHASES = ("measured", "fitted", "left over")

_EXAGGERATED = 0.2
"""Departure from the circle that the largest stretch is drawn with."""


def before_after(
    before: Values, after: Values, label: str, alt: str, counted: str = "particles"
) -> str:
    """Histograms of a number before and after."""
    edges = np.histogram_bin_edges(np.concatenate([before, after]), _BINS)
    x = np.repeat(edges, 2)[1:-1].tolist()
    was, now = (np.repeat(np.histogram(v, edges)[0], 2).tolist() for v in (before, after))
    return Chart(
        Axis(label),
        Axis(counted, (0.0, 1.05 * max(*was, *now, 1))),
        alt,
        lines=[Line(x, now, "after")],
        areas=[Area(x, [0.0] * len(x), was, "before", GREY, 0.45)],
    ).svg()


def change(values: Values, label: str, alt: str) -> str:
    """Histogram of what was added to a number of all particles."""
    span = (float(min(values.min(), 0)), float(max(values.max(), 0)))
    return histogram(values, np.ones(len(values), int), [1], label, alt, span=span, mark=0.0)


def micrographs(panels: Sequence[tuple[str, Values, Values, Values]], label: str, alt: str) -> str:
    """Particles at their places, one panel a micrograph: name, x, y and the number that colours."""
    limit = max(1e-6, *(float(np.percentile(np.abs(v), 98)) for *_, v in panels))
    drawn = [_with_particles(*panel, limit) for panel in panels]
    return side_by_side(drawn, alt, Bar(_DIVERGING, (-limit, limit), label))


def _with_particles(name: str, x: Values, y: Values, values: Values, limit: float) -> Panel:
    """Particles of a micrograph as discs, y upwards as in MRC files."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    left, low = float(x.min()), float(y.min())
    field = max(float(x.max()) - left, float(y.max()) - low, 1e-6)
    unit = (_FIELD - 2 * _DISC) / field
    shades = colormaps[_DIVERGING](np.clip(0.5 + values / (2 * limit), 0, 1))
    spots = tuple(
        Spot(_DISC + (a - left) * unit, _FIELD - _DISC - (b - low) * unit, _DISC, to_hex(c), True)
        for a, b, c in zip(x.tolist(), y.tolist(), shades, strict=True)
    )
    return Panel(np.full((1, 1), np.nan), name, (0.0, 1.0), width=_FIELD, spots=spots)


def astigmatism_moves(
    before: Float[np.ndarray, "m 2"], after: Float[np.ndarray, "m 2"], alt: str
) -> str:
    """Cosine and sine of each micrograph's astigmatism (angstrom), joined before to after."""
    joined = np.stack([before, after, np.full_like(before, np.nan)], axis=1).reshape(-1, 2)
    lines = [
        Line.through(joined, colour=GREY, width=0.7),
        Line.through(before, name="before", colour=GREY, width=0, dots=True),
        Line.through(after, name="after", width=0, dots=True),
    ]
    names = ("(U - V)/2 cos 2θ (Å)", "(U - V)/2 sin 2θ (Å)")
    axes = equal_axes(names, np.concatenate([before, after, np.zeros((1, 2))]))
    return Chart(*axes, alt, lines, rules=[Rule(0.0), Rule(0.0, upright=True)]).svg()


def phases(images: Float[np.ndarray, "3 s s"], alt: str) -> str:
    """Phases over the Fourier plane in radians: measured, fitted and left over."""
    seen = images != 0
    top = float(np.clip(np.percentile(np.abs(images[1][seen[1]]), 99), 0.1, np.pi))
    limits = (-top, top)
    panels = [
        Panel(np.where(shown, image, np.nan), name, limits, _CYCLIC, width=180.0)
        for image, shown, name in zip(images, seen, _PHASES, strict=True)
    ]
    return side_by_side(panels, alt, Bar(_CYCLIC, limits, "phase (rad)"))


def stretch(matrix: Float[np.ndarray, "2 2"], alt: str) -> str:
    """A circle through the magnification matrix, its departure from the circle made visible."""
    off = matrix - np.eye(2)
    factor = _EXAGGERATED / max(1e-6, float(np.linalg.norm(off, 2)))
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    drawn = circle + factor * circle @ off.T
    lines = [
        Line.through(circle, name="circle", colour=GREY, width=0.9, dashed=True),
        Line.through(drawn, name=f"departure drawn {factor:.0f} times too large"),
    ]
    return Chart(*equal_axes(("x", "y"), np.concatenate([circle, drawn])), alt, lines).svg()
