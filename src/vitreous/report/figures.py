"""The report's pictures, as SVG text that takes the colour of the page it stands in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from vitreous.report.directions import DirectionDensity, cell_of

COLOURS = ("#1f8a94", "#d0782a", "#7a68c4", "#b8456b", "#5c8f2f", "#8a6f3c", "#3d73b9", "#777f88")
"""One for each class, in turn; all readable on white and on near-black."""

_INK = "#0a0b0c"  # a colour that nothing else has, replaced by the page's own
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
}
_MASK_COLOUR = "#8fd6de"

_SURROUNDINGS = 1.3
"""Edge of the shown square over the mask's diameter."""


def colour(number: int) -> str:
    """Colour of a class, counted from 1."""
    return COLOURS[(number - 1) % len(COLOURS)]


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, alt: str) -> str:
    """Inline SVG with an alternative text; ids are made from ``alt`` so that no two collide."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": alt, "svg.id": None}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # Matplotlib numbers its groups alike in every figure (axes_1, patch_2): drop those ids.
    text = re.sub(r'<g id="[\w.]+"', "<g", text)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _limits(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Grey levels from the darkest to the brightest but for a few outliers."""
    low, high = np.percentile(np.stack(images), [0.5, 99.8])
    return float(low), float(max(high, low + 1e-12))


def round_length(longest: float) -> float:
    """Largest of 1, 2, 5 times a power of ten that is at most ``longest``."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def _scale_bar(axes: Axes, pixel_size: float) -> None:
    start, stop = axes.get_xlim()
    width = stop - start
    length = round_length(width * pixel_size / 3)
    left, bottom = start + 0.05 * width, start + 0.06 * width
    ends = [left, left + length / pixel_size]
    axes.plot(ends, [bottom, bottom], color="white", lw=2.5, solid_capstyle="butt")
    axes.text(left, bottom + 0.03 * width, f"{length:g} Å", color="white", fontsize=7.5)


def sections_and_projections(
    volume: Float[np.ndarray, "n n n"],
    pixel_size: float,
    mask_diameter: float | None,
    alt: str,
    *,
    upright: bool = False,
) -> str:
    """Central sections across z, y, x, and projections along them.

    Parameters
    ----------
    volume : array (z, y, x)
    pixel_size : float
        Angstrom.
    mask_diameter : float, optional
        Angstrom; drawn as a circle.
    alt : str
    upright : bool
        Two columns rather than two rows.
    """
    side = volume.shape[0]
    sections = [np.take(volume, side // 2, axis=axis) for axis in range(3)]
    projections = [volume.sum(axis=axis) for axis in range(3)]
    seen = (("x", "y", "z"), ("x", "z", "y"), ("y", "z", "x"))
    # Somewhat more than the mask, so that the solvent can be judged.
    shown = min(side, _SURROUNDINGS * mask_diameter / pixel_size if mask_diameter else side)
    window = side // 2 - 0.5 - shown / 2, side // 2 - 0.5 + shown / 2
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 5.9) if upright else (6.0, 4.3), layout="constrained")
        grid = figure.subplots(3, 2).T if upright else figure.subplots(2, 3)
        for row, images, name in zip(
            grid, (sections, projections), ("Section", "Sum"), strict=True
        ):
            low, high = _limits(images)
            for axes, image, (across, up, along) in zip(row, images, seen, strict=True):
                axes.imshow(
                    image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="none"
                )
                title = f"across {along}" if name == "Section" else f"along {along}"
                axes.set_title(f"{name} {title}  ({across} →, {up} ↑)", fontsize=8)
                axes.set_axis_off()
                if mask_diameter:
                    _circle(axes, side // 2, mask_diameter / 2 / pixel_size)
                axes.set(xlim=window, ylim=window)
        for axes in grid[:, 0]:
            _scale_bar(axes, pixel_size)
        return _svg(figure, alt)


def _circle(axes: Axes, centre: int, radius: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 181)
    axes.plot(
        centre + radius * np.cos(angle),
        centre + radius * np.sin(angle),
        color=_MASK_COLOUR,
        lw=0.7,
        ls=(0, (4, 3)),
        alpha=0.8,
    )


def direction_map(density: DirectionDensity, alt: str, *, wide: bool) -> str:
    """Mollweide (equal-area) map of viewing directions, coloured by density over even."""
    rot = np.linspace(-180, 180, 361)
    tilt = np.linspace(0, 180, 181)
    middle_rot, middle_tilt = np.meshgrid((rot[1:] + rot[:-1]) / 2, (tilt[1:] + tilt[:-1]) / 2)
    values = density.relative[cell_of(middle_rot, middle_tilt, density.order)]
    with matplotlib.rc_context(_STYLE):
        size = (6.4, 3.3) if wide else (4.4, 2.5)
        figure = Figure(figsize=size, layout="constrained", dpi=160)
        axes = figure.add_subplot(projection="mollweide")
        mesh = axes.pcolormesh(
            np.radians(rot),
            np.radians(90 - tilt),
            values,
            cmap="viridis",
            vmin=0,
            vmax=max(2.0, float(density.relative.max())),
            rasterized=True,
        )
        axes.set_xticks(np.radians([-120, -60, 0, 60, 120]))
        axes.set_xticklabels([f"{a}°" for a in (-120, -60, 0, 60, 120)], color="white", fontsize=7)
        axes.set_yticks(np.radians([60, 30, 0, -30, -60]))
        axes.set_yticklabels([f"{a}°" for a in (30, 60, 90, 120, 150)], fontsize=7)
        axes.grid(color="white", lw=0.4, alpha=0.5)
        axes.set(xlabel="rot", ylabel="tilt")
        bar = figure.colorbar(mesh, ax=axes, shrink=0.8, aspect=20, pad=0.02)
        bar.set_label("times an even spread")
        bar.ax.axhline(1, color="white", lw=1.5)
        bar.outline.set_visible(False)
        return _svg(figure, alt)


def histogram(
    values: Float[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    numbers: Sequence[int],
    label: str,
    alt: str,
    *,
    span: tuple[float, float] | None = None,
    mark: float | None = None,
) -> str:
    """Stacked histogram over classes; ``mark`` is drawn as a vertical line."""
    usable = np.isfinite(values)
    low, high = span or (0.0, max(float(values[usable].max(initial=0)), mark or 0.0, 1e-6) * 1.02)
    parts = [values[usable & (classes == number)] for number in numbers]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _new(3.9, 2.5)
        axes.hist(
            parts,
            bins=np.linspace(low, high, 31).tolist(),
            stacked=True,
            color=[colour(number) for number in numbers],
            label=[f"class {number}" for number in numbers],
        )
        if mark is not None:
            axes.axvline(mark, color=_INK, lw=0.9, ls=(0, (4, 3)))
        if len(numbers) > 1:
            axes.legend()
        axes.set(xlabel=label, ylabel="particles", xlim=(low, high))
        return _svg(figure, alt)


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
    with matplotlib.rc_context(_STYLE):
        figure, axes = _new(3.9, 2.4)
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
            axes.legend()
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="iteration", ylabel=label)
        axes.margins(x=0.01)
        return _svg(figure, alt)


def fractions(run: Sequence[Mapping[str, Any]], alt: str) -> str:
    """Share of the particles in each class over the iterations, stacked."""
    shares = np.array([event["class_fractions"] for event in run], dtype=float).T
    with matplotlib.rc_context(_STYLE):
        figure, axes = _new(3.9, 2.4)
        numbers = range(1, len(shares) + 1)
        axes.stackplot(
            range(1, len(run) + 1),
            shares,
            colors=[colour(number) for number in numbers],
            labels=[f"class {number}" for number in numbers],
            alpha=0.9,
        )
        axes.legend(loc="upper left", ncols=2)
        axes.set(xlabel="iteration", ylabel="share of particles", ylim=(0, 1))
        axes.margins(x=0)
        return _svg(figure, alt)


def _resolution_ticks(top: float) -> list[float]:
    """Round resolutions in angstrom up to a frequency, far enough apart for their labels."""
    ticks: list[float] = []
    for resolution in (
        2.0,
        2.5,
        3.0,
        3.5,
        4.0,
        5.0,
        6.0,
        8.0,
        10.0,
        12.0,
        15.0,
        20.0,
        30.0,
        50.0,
        100.0,
    ):
        fits = resolution * top >= 1
        if fits and (not ticks or 1 / ticks[-1] - 1 / resolution > 0.11 * top):
            ticks.append(resolution)
    return ticks


def spectrum(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]], label: str, alt: str
) -> str:
    """Curves (name, frequency in 1/angstrom, positive value), the frequencies told in angstrom."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _new(3.9, 2.5)
        top = 0.0
        for place, (name, frequency, value) in enumerate(lines, 1):
            k, v = np.asarray(frequency, dtype=float), np.asarray(value, dtype=float)
            keep = np.isfinite(v) & (v > 0) & (k > 0)
            axes.plot(k[keep], v[keep], color=colour(place), label=name)
            top = max(top, float(k[keep].max(initial=0)))
        shown = _resolution_ticks(top)
        axes.set_xticks([1 / d for d in shown], [f"{d:g}" for d in shown])
        low, high = axes.get_ylim()
        if low <= 0 or high > 10 * low:
            axes.set_yscale("log")
        axes.set(xlabel="resolution (Å)", ylabel=label)
        if len(lines) > 1:
            axes.legend()
        return _svg(figure, alt)
