"""Pictures of maps and of viewing directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from vitreous.math.cells import cell_of
from vitreous.report.directions import DirectionDensity
from vitreous.report.svg import styled, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MASK_COLOUR = "#8fd6de"

_SURROUNDINGS = 1.3
"""Edge of the shown square over the mask's diameter."""


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
    from matplotlib.figure import Figure

    with styled():
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
        return svg_text(figure, alt)


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
    top = max(2.0, float(density.relative.max()))
    return sphere_map(
        density.relative, density.order, (0, top), "times an even spread", alt, wide=wide, mark=1
    )


def sphere_map(
    cells: Float[np.ndarray, " c"],
    order: int,
    limits: tuple[float, float],
    label: str,
    alt: str,
    *,
    wide: bool,
    mark: float | None = None,
) -> str:
    """Mollweide (equal-area) map of the values of HEALPix cells; ``mark`` is drawn on the scale."""
    rot = np.linspace(-180, 180, 361)
    tilt = np.linspace(0, 180, 181)
    middle_rot, middle_tilt = np.meshgrid((rot[1:] + rot[:-1]) / 2, (tilt[1:] + tilt[:-1]) / 2)
    values = cells[cell_of(middle_rot, middle_tilt, order)]
    from matplotlib.figure import Figure

    with styled():
        size = (6.4, 3.3) if wide else (4.4, 2.5)
        figure = Figure(figsize=size, layout="constrained", dpi=160)
        axes = figure.add_subplot(projection="mollweide")
        mesh = axes.pcolormesh(
            np.radians(rot),
            np.radians(90 - tilt),
            values,
            cmap="viridis",
            vmin=limits[0],
            vmax=limits[1],
            rasterized=True,
        )
        axes.set_xticks(np.radians([-120, -60, 0, 60, 120]))
        axes.set_xticklabels([f"{a}°" for a in (-120, -60, 0, 60, 120)], color="white", fontsize=7)
        axes.set_yticks(np.radians([60, 30, 0, -30, -60]))
        axes.set_yticklabels([f"{a}°" for a in (30, 60, 90, 120, 150)], fontsize=7)
        axes.grid(color="white", lw=0.4, alpha=0.5)
        axes.set(xlabel="rot", ylabel="tilt")
        bar = figure.colorbar(mesh, ax=axes, shrink=0.8, aspect=20, pad=0.02)
        bar.set_label(label)
        if mark is not None:
            bar.ax.axhline(mark, color="white", lw=1.5)
        bar.outline.set_visible(False)
        return svg_text(figure, alt)


def coloured_sections(
    values: Float[np.ndarray, "n n n"],
    shown: Bool[np.ndarray, "n n n"],
    limits: tuple[float, float],
    label: str,
    alt: str,
) -> str:
    """Central sections across z, y, x, coloured by value where ``shown``."""
    from matplotlib.figure import Figure

    middle = values.shape[0] // 2
    masked = np.where(shown, values, np.nan)
    with styled():
        figure = Figure(figsize=(6.4, 2.6), layout="constrained")
        panels = figure.subplots(1, 3)
        for axis, (axes, name) in enumerate(zip(panels, "zyx", strict=True)):
            picture = axes.imshow(
                np.take(masked, middle, axis=axis),
                cmap="viridis_r",
                vmin=limits[0],
                vmax=limits[1],
                origin="lower",
                interpolation="none",
            )
            axes.set_title(f"Section across {name}", fontsize=8)
            axes.set_axis_off()
        bar = figure.colorbar(picture, ax=panels, shrink=0.8, aspect=20, pad=0.02)
        bar.set_label(label)
        bar.outline.set_visible(False)
        return svg_text(figure, alt)
