"""Charts of the search and of the particles: histograms, curves and spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vitreous.report.chart import COLOURS, GREY, Area, Axis, Chart, Line, Rule, colour

_BINS = 30

_ROUND_RESOLUTIONS = (2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 100)
"""Angstrom; where the axis of a spectrum may have a tick."""


def histogram(
    values: Float[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    numbers: Sequence[int],
    label: str,
    alt: str,
    *,
    span: tuple[float, float] | None = None,
    mark: float | None = None,
    counted: str = "particles",
) -> str:
    """Stacked histogram over classes; ``mark`` is drawn as a vertical line."""
    usable = np.isfinite(values)
    low, high = span or (0.0, max(float(values[usable].max(initial=0)), mark or 0.0, 1e-6) * 1.02)
    edges = np.linspace(low, max(high, low + 1e-9), _BINS + 1)
    x, areas, below = np.repeat(edges, 2)[1:-1].tolist(), [], np.zeros(2 * _BINS)
    for number in numbers:
        counts = np.histogram(values[usable & (classes == number)], edges)[0]
        above = below + np.repeat(counts, 2)
        name = f"class {number}" if len(numbers) > 1 else ""
        areas.append(Area(x, below.tolist(), above.tolist(), name, colour(number)))
        below = above
    return Chart(
        Axis(label, (float(edges[0]), float(edges[-1]))),
        Axis(counted, (0.0, 1.05 * max(float(below.max()), 1.0))),
        alt,
        areas=areas,
        rules=[] if mark is None else [Rule(mark, upright=True)],
    ).svg()


def _stage_bands(run: Sequence[Mapping[str, Any]], low: float, high: float) -> list[Area]:
    """Shade over the iterations between the initial and the final stage."""
    middle = [place for place, event in enumerate(run, 1) if event.get("stage") == "between"]
    if not middle:
        return []
    x = [middle[0] - 0.5, middle[-1] + 0.5]
    return [Area(x, [low, low], [high, high], colour="#808890", opacity=0.13)]


def curve(
    starts: Mapping[int, Sequence[Mapping[str, Any]]],
    chosen: int,
    field: str,
    label: str,
    alt: str,
    *,
    log: bool = False,
) -> str:
    """One number of the iterations, a line for each random start, the chosen one on top."""
    lines = []
    for start, run in sorted(starts.items(), key=lambda item: item[0] == chosen):
        values = [np.nan if e.get(field) is None else float(e[field]) for e in run]
        kept = start == chosen
        name = f"start {start}" + (" (kept)" if kept else "")
        tint, width = (COLOURS[0], 1.8) if kept else (GREY, 1.0)
        lines.append(Line(range(1, len(run) + 1), values, name, tint, width))
    found = np.concatenate([line.y for line in lines])
    found = found[np.isfinite(found)]
    low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
    bands = _stage_bands(starts.get(chosen, []), low, high)
    return Chart(Axis("iteration"), Axis(label, log=log), alt, lines, bands).svg()


def over_passes(
    lines: Sequence[tuple[str, Sequence[int], Sequence[float]]],
    label: str,
    alt: str,
    *,
    log: bool = False,
) -> str:
    """Numbers of the passes: name, passes, values."""
    drawn = [
        Line(passes, values, name, colour(place), dots=True)
        for place, (name, passes, values) in enumerate(lines, 1)
    ]
    first, last = (int(end(end(line.x) for line in drawn)) for end in (min, max))
    step = 1 + (last - first) // 10
    ticks = [(float(number), str(number)) for number in range(first, last + 1, step)]
    x = Axis("pass", (first - 0.5, last + 0.5), ticks)
    return Chart(x, Axis(label, log=log), alt, drawn).svg()


def stacked_shares(
    shares: Float[np.ndarray, "k n"], label: str, alt: str, names: Sequence[str] = ()
) -> str:
    """Shares of the particles over iterations, stacked; rows are classes."""
    x, below, areas = range(1, shares.shape[1] + 1), np.zeros(shares.shape[1]), []
    for number, share in enumerate(shares, 1):
        name = names[number - 1] if names else f"class {number}"
        areas.append(Area(x, below.tolist(), (below + share).tolist(), name, colour(number)))
        below = below + share
    return Chart(
        Axis(label, (1.0, float(max(2, shares.shape[1])))),
        Axis("share of particles", (0.0, 1.0)),
        alt,
        areas=areas,
    ).svg()


def class_priors(run: Sequence[Mapping[str, Any]], alt: str) -> str:
    """Share of the particles in each class over the iterations, stacked."""
    shares = np.array([event["class_fractions"] for event in run], dtype=float).T
    return stacked_shares(shares, "iteration", alt)


def resolution_ticks(top: float) -> list[float]:
    """Round resolutions in angstrom up to a frequency, far enough apart for their labels."""
    ticks: list[float] = []
    for resolution in _ROUND_RESOLUTIONS:
        fits = resolution * top >= 1
        if fits and (not ticks or 1 / ticks[-1] - 1 / resolution > 0.11 * top):
            ticks.append(resolution)
    return ticks


def resolution_axis(top: float) -> Axis:
    """Axis of frequencies from 0 to ``top`` (1/angstrom), told in angstrom."""
    ticks = [(1 / d, f"{d:g}") for d in reversed(resolution_ticks(top))]
    return Axis("resolution (Å)", (0.0, top), ticks)


def spectrum(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]], label: str, alt: str
) -> str:
    """Curves (name, frequency in 1/angstrom, positive value), the frequencies told in angstrom."""
    drawn, values = [], []
    for place, (name, frequency, value) in enumerate(lines, 1):
        k, v = np.asarray(frequency, dtype=float), np.asarray(value, dtype=float)
        keep = np.isfinite(v) & (v > 0) & (k > 0)
        drawn.append(Line(k[keep].tolist(), v[keep].tolist(), name, colour(place)))
        values.append(v[keep])
    top = max((max(line.x, default=0.0) for line in drawn), default=0.0) or 1.0
    found = np.concatenate(values)
    wide = len(found) > 0 and bool(found.max() > 10 * found.min())
    return Chart(resolution_axis(top), Axis(label, log=wide), alt, drawn).svg()
