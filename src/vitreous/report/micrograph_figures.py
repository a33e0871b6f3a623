"""Pictures of micrographs and of what was cut out of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vitreous.report.chart import Axis, Chart, Line, Rule, colour
from vitreous.report.panels import Panel, Spot, arranged

_COLUMNS = 8
"""Images side by side in a montage."""

_WIDE = 500.0
"""Width of a micrograph."""


def _grey_levels(image: Float[np.ndarray, "*y x"]) -> tuple[float, float]:
    """From dark to bright but for a few outliers."""
    low, high = np.nanpercentile(image, [1.0, 99.0])
    return float(low), float(max(high, low + 1e-12))


def montage(images: Float[np.ndarray, "n y x"], alt: str) -> str:
    """Images side by side, each in its own grey levels."""
    panels = [Panel(image[::-1], "", _grey_levels(image), width=70.0) for image in images]
    rows = range(0, len(panels), _COLUMNS)
    return arranged([panels[row : row + _COLUMNS] for row in rows], alt)


def spectrum_against_fit(picture: Float[np.ndarray, "n n"], alt: str) -> str:
    """Spectrum on the left half, the fit on the right, smoothed a little."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(picture, 1.0)
    low, high = np.percentile(smooth[smooth != 0], [2.0, 98.0])
    return arranged([[Panel(smooth[::-1], "", (float(low), float(high)), width=250.0)]], alt)


def fit_curves(
    frequency: Float[np.ndarray, " q"],
    curves: dict[str, Float[np.ndarray, " q"]],
    resolution: float,
    alt: str,
) -> str:
    """Observed, fitted and their correlation along the frequency (1/angstrom)."""
    scale = max(float(np.percentile(np.abs(curves["fitted"]), 99)), 1e-9)
    shown = {
        **{name: np.clip(curves[name] / scale, -2.5, 2.5) for name in ("observed", "fitted")},
        "correlation": curves["correlation"],
    }
    x = frequency.tolist()
    lines = [
        Line(x, values.tolist(), name, colour(place), 1.2)
        for place, (name, values) in enumerate(shown.items(), 1)
    ]
    axis = Axis("frequency (1/Å)", (float(frequency[0]), float(frequency[-1])))
    mark = [Rule(1 / resolution, upright=True)]
    return Chart(axis, Axis("over the fit's height"), alt, lines, rules=mark).svg()


def micrograph_with_picks(
    image: Float[np.ndarray, "h w"],
    places: Float[np.ndarray, "n 2"],
    radius: float,
    alt: str,
) -> str:
    """A small micrograph with circles round its picks, all in pixels of it."""
    unit = _WIDE / image.shape[1]
    spots = tuple(Spot(x * unit, y * unit, radius * unit, colour(2)) for x, y in places.tolist())
    panel = Panel(image[::-1], "", _grey_levels(image), width=_WIDE, spots=spots)
    return arranged([[panel]], alt)
