"""Charts of the search and of the particles: histograms, curves and spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from vitreous.report.svg import (
    COLOURS,
    INK,
    NORMAL,
    colour,
    legend_above,
    new_figure,
    styled,
    svg_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    parts = [values[usable & (classes == number)] for number in numbers]
    with styled():
        figure, axes = new_figure(*NORMAL)
        axes.hist(
            parts,
            bins=np.linspace(low, high, 31).tolist(),
            stacked=True,
            color=[colour(number) for number in numbers],
            label=[f"class {number}" for number in numbers],
        )
        if mark is not None:
            axes.axvline(mark, color=INK, lw=0.9, ls=(0, (4, 3)))
        if len(numbers) > 1:
            legend_above(axes, 4)
        axes.set(xlabel=label, ylabel=counted, xlim=(low, high))
        return svg_text(figure, alt)


def _stage_bands(axes: Axes, run: Sequence[Mapping[str, Any]]) -> None:
    """Shade the iterations between the initial and the final stage."""
    middle = [place for place, event in enumerate(run, 1) if event.get("stage") == "between"]
    if middle:
        axes.axvspan(middle[0] - 0.5, middle[-1] + 0.5, color="#808890", alpha=0.13, lw=0)


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
    from matplotlib.ticker import LogLocator, NullFormatter

    with styled():
        figure, axes = new_figure(*NORMAL)
        for start, run in sorted(starts.items(), key=lambda item: item[0] == chosen):
            values = [np.nan if e.get(field) is None else float(e[field]) for e in run]
            kept = start == chosen
            axes.plot(
                range(1, len(run) + 1),
                values,
                color=COLOURS[0] if kept else "#8a929a",
                lw=1.8 if kept else 1.0,
                alpha=1.0 if kept else 0.7,
                label=f"start {start}" + (" (kept)" if kept else ""),
            )
        _stage_bands(axes, starts.get(chosen, []))
        if len(starts) > 1:
            legend_above(axes, 4)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="iteration", ylabel=label)
        axes.margins(x=0.01)
        return svg_text(figure, alt)


def class_priors(run: Sequence[Mapping[str, Any]], alt: str) -> str:
    """Share of the particles in each class over the iterations, stacked."""
    shares = np.array([event["class_fractions"] for event in run], dtype=float).T
    with styled():
        figure, axes = new_figure(*NORMAL)
        numbers = range(1, len(shares) + 1)
        axes.stackplot(
            range(1, len(run) + 1),
            shares,
            colors=[colour(number) for number in numbers],
            labels=[f"class {number}" for number in numbers],
            alpha=0.9,
        )
        legend_above(axes, 4)
        axes.set(xlabel="iteration", ylabel="share of particles", ylim=(0, 1))
        axes.margins(x=0)
        return svg_text(figure, alt)


def resolution_ticks(top: float) -> list[float]:
    """Round resolutions in angstrom up to a frequency, far enough apart for their labels."""
    ticks: list[float] = []
    for resolution in _ROUND_RESOLUTIONS:
        fits = resolution * top >= 1
        if fits and (not ticks or 1 / ticks[-1] - 1 / resolution > 0.11 * top):
            ticks.append(resolution)
    return ticks


def spectrum(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]], label: str, alt: str
) -> str:
    """Curves (name, frequency in 1/angstrom, positive value), the frequencies told in angstrom."""
    with styled():
        figure, axes = new_figure(*NORMAL)
        top = 0.0
        for place, (name, frequency, value) in enumerate(lines, 1):
            k, v = np.asarray(frequency, dtype=float), np.asarray(value, dtype=float)
            keep = np.isfinite(v) & (v > 0) & (k > 0)
            axes.plot(k[keep], v[keep], color=colour(place), label=name)
            top = max(top, float(k[keep].max(initial=0)))
        shown = resolution_ticks(top)
        axes.set_xticks([1 / d for d in shown], [f"{d:g}" for d in shown])
        low, high = axes.get_ylim()
        if low <= 0 or high > 10 * low:
            axes.set_yscale("log")
        axes.set(xlabel="resolution (Å)", ylabel=label)
        if len(lines) > 1:
            legend_above(axes, 3)
        return svg_text(figure, alt)
