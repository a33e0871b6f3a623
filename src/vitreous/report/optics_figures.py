"""Pictures of refined optics: defocus, astigmatism, phases and magnification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vitreous.report.chart import COLOURS
from vitreous.report.svg import INK, new_figure, styled, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Float[np.ndarray, " n"]

_FAINT = "#8a929a"

_PHASES = ("measured", "fitted", "left over")

_EXAGGERATED = 0.2
"""Departure from the circle that the largest stretch is drawn with."""


def before_after(
    before: Values, after: Values, label: str, alt: str, counted: str = "particles"
) -> str:
    """Histograms of a number before and after."""
    with styled():
        figure, axes = new_figure(3.9, 2.5)
        bins = np.histogram_bin_edges(np.concatenate([before, after]), 40).tolist()
        axes.hist(before, bins, color=_FAINT, alpha=0.45, label="before")
        axes.hist(after, bins, color=COLOURS[0], histtype="step", lw=1.8, label="after")
        axes.set(xlabel=label, ylabel=counted)
        axes.legend()
        return svg_text(figure, alt)


def change(values: Values, label: str, alt: str) -> str:
    """Histogram of what was added to a number of all particles."""
    with styled():
        figure, axes = new_figure(3.9, 2.5)
        axes.hist(values, 40, color=COLOURS[0])
        axes.axvline(0, color=INK, lw=0.9, ls=(0, (4, 3)))
        axes.set(xlabel=label, ylabel="particles")
        return svg_text(figure, alt)


def micrographs(panels: Sequence[tuple[str, Values, Values, Values]], label: str, alt: str) -> str:
    """Particles at their places, one panel a micrograph: name, x, y and the number that colours."""
    from matplotlib.figure import Figure

    limit = max(1e-6, *(float(np.percentile(np.abs(v), 98)) for *_, v in panels))
    with styled():
        figure = Figure(figsize=(3.2 * len(panels) + 0.6, 3.2), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, x, y, values) in zip(grid, panels, strict=True):
            dots = axes.scatter(
                x, y, c=values, s=22, cmap="coolwarm", vmin=-limit, vmax=limit, lw=0
            )
            axes.set_title(name, fontsize=7.5)
            axes.set_aspect("equal")
            axes.set(xticks=[], yticks=[])
        bar = figure.colorbar(dots, ax=grid, shrink=0.85, aspect=22, pad=0.02)
        bar.set_label(label)
        bar.outline.set_visible(False)
        return svg_text(figure, alt)


def astigmatism_moves(
    before: Float[np.ndarray, "m 2"], after: Float[np.ndarray, "m 2"], alt: str
) -> str:
    """Cosine and sine of each micrograph's astigmatism (angstrom), joined before to after."""
    with styled():
        figure, axes = new_figure(3.6, 3.3)
        ends = np.stack([before, after])
        axes.plot(*np.moveaxis(ends, -1, 0), color=_FAINT, lw=0.7, alpha=0.7)
        axes.scatter(
            before[:, 0], before[:, 1], s=14, facecolor="none", edgecolor=_FAINT, label="before"
        )
        axes.scatter(after[:, 0], after[:, 1], s=14, color=COLOURS[0], label="after", zorder=3)
        axes.axhline(0, color=INK, lw=0.4)
        axes.axvline(0, color=INK, lw=0.4)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(xlabel="(U - V)/2 cos 2θ (Å)", ylabel="(U - V)/2 sin 2θ (Å)")
        axes.legend()
        return svg_text(figure, alt)


def phases(images: Float[np.ndarray, "3 s s"], alt: str) -> str:
    """Phases over the Fourier plane in radians: measured, fitted and left over."""
    from matplotlib.figure import Figure

    seen = images != 0
    limit = float(np.clip(np.percentile(np.abs(images[1][seen[1]]), 99), 0.1, np.pi))
    with styled():
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        grid = figure.subplots(1, 3)
        for axes, image, shown, name in zip(grid, images, seen, _PHASES, strict=True):
            picture = axes.imshow(
                np.where(shown, image, np.nan),
                cmap="twilight_shifted",
                vmin=-limit,
                vmax=limit,
                origin="lower",
                interpolation="none",
            )
            axes.set_title(name, fontsize=8)
            axes.set_axis_off()
        bar = figure.colorbar(picture, ax=grid, shrink=0.85, aspect=20, pad=0.02)
        bar.set_label("phase (rad)")
        bar.outline.set_visible(False)
        return svg_text(figure, alt)


def stretch(matrix: Float[np.ndarray, "2 2"], alt: str) -> str:
    """A circle through the magnification matrix, its departure from the circle made visible."""
    off = matrix - np.eye(2)
    factor = _EXAGGERATED / max(1e-6, float(np.linalg.norm(off, 2)))
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    with styled():
        figure, axes = new_figure(3.0, 3.0)
        axes.plot(*circle, color=_FAINT, lw=0.9, ls=(0, (4, 3)))
        axes.plot(*(circle + factor * off @ circle), color=COLOURS[0], lw=1.8)
        _bare(axes, f"departure drawn {factor:.0f} times too large")
        return svg_text(figure, alt)


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=8)
    axes.set_aspect("equal")
    axes.set_axis_off()
