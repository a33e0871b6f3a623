"""Pictures of micrographs and of what was cut out of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vitreous.report.chart import colour
from vitreous.report.svg import INK, new_figure, styled, svg_text

_COLUMNS = 8
"""Images side by side in a montage."""


def _grey_levels(image: Float[np.ndarray, "*y x"]) -> tuple[float, float]:
    """From dark to bright but for a few outliers."""
    low, high = np.nanpercentile(image, [1.0, 99.0])
    return float(low), float(max(high, low + 1e-12))


def montage(images: Float[np.ndarray, "n y x"], alt: str) -> str:
    """Images side by side, each in its own grey levels."""
    from matplotlib.figure import Figure

    rows = -(-len(images) // _COLUMNS)
    columns = min(_COLUMNS, len(images))
    with styled():
        figure = Figure(figsize=(0.8 * columns, 0.8 * rows), dpi=160)
        for place, image in enumerate(images, 1):
            axes = figure.add_subplot(rows, columns, place)
            low, high = _grey_levels(image)
            axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
            axes.set_axis_off()
        figure.subplots_adjust(0, 0, 1, 1, 0.04, 0.04)
        return svg_text(figure, alt)


def spectrum_against_fit(picture: Float[np.ndarray, "n n"], alt: str) -> str:
    """Spectrum on the left half, the fit on the right, smoothed a little."""
    from matplotlib.figure import Figure
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(picture, 1.0)
    with styled():
        figure = Figure(figsize=(2.6, 2.6), dpi=160)
        axes = figure.add_axes((0, 0, 1, 1))
        low, high = np.percentile(smooth[smooth != 0], [2.0, 98.0])
        axes.imshow(smooth, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
        axes.set_axis_off()
        return svg_text(figure, alt)


def fit_curves(
    frequency: Float[np.ndarray, " q"],
    curves: dict[str, Float[np.ndarray, " q"]],
    resolution: float,
    alt: str,
) -> str:
    """Observed, fitted and their correlation along the frequency (1/angstrom)."""
    with styled():
        figure, axes = new_figure(4.6, 2.6)
        scale = max(float(np.percentile(np.abs(curves["fitted"]), 99)), 1e-9)
        for number, name in enumerate(("observed", "fitted"), 1):
            shown = np.clip(curves[name] / scale, -2.5, 2.5)
            axes.plot(frequency, shown, color=colour(number), lw=1.0, label=name)
        axes.plot(frequency, curves["correlation"], color=colour(3), lw=1.2, label="correlation")
        axes.axvline(1 / resolution, color=INK, lw=0.6, ls="--")
        axes.set(xlabel="frequency (1/Å)", xlim=(float(frequency[0]), float(frequency[-1])))
        axes.legend(loc="lower left", ncols=3)
        return svg_text(figure, alt)


def micrograph_with_picks(
    image: Float[np.ndarray, "h w"],
    places: Float[np.ndarray, "n 2"],
    radius: float,
    alt: str,
) -> str:
    """A small micrograph with circles round its picks, all in pixels of it."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

    height, width = image.shape
    with styled():
        figure = Figure(figsize=(5.0, 5.0 * height / width), dpi=130)
        axes = figure.add_axes((0, 0, 1, 1))
        low, high = _grey_levels(image)
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
        size = np.full(len(places), 2 * radius)
        circles = EllipseCollection(
            size, size, np.zeros(len(places)), units="xy", offsets=places,
            offset_transform=axes.transData, facecolors="none", edgecolors=colour(2),
            linewidths=0.7,
        )  # fmt: skip
        axes.add_collection(circles)
        axes.set_axis_off()
        return svg_text(figure, alt)
