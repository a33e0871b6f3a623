"""Pictures of maps, particles and viewing directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from vitreous.math.cells import cell_of
from vitreous.report.directions import DirectionDensity
from vitreous.report.panels import Bar, Panel, arranged, mollweide, side_by_side

_SURROUNDINGS = 1.3
"""Edge of the shown square over the mask's diameter."""

_SMOOTHED = 10.0
"""Resolution in angstrom that images of particles are smoothed to at the least, to be seen."""


def _limits(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Grey levels from the darkest to the brightest but for a few outliers."""
    low, high = np.percentile(np.stack(images), [0.5, 99.8])
    return float(low), float(max(high, low + 1e-12))


def round_length(longest: float) -> float:
    """Largest of 1, 2, 5 times a power of ten that is at most ``longest``."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def _scale(pixels: int, pixel_size: float) -> tuple[float, str]:
    """Length of a scale bar as a share of a picture's width, and its word."""
    length = round_length(pixels * pixel_size / 3)
    return length / (pixels * pixel_size), f"{length:g} Å"


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
    shown = _SURROUNDINGS * mask_diameter / pixel_size if mask_diameter else side
    half = min(side // 2, int(np.ceil(shown / 2)))
    window = slice(side // 2 - half, side // 2 + half)
    radius = None if not mask_diameter else mask_diameter / 2 / pixel_size / (2 * half)
    rows = []
    for images, name in ((sections, "Section across"), (projections, "Sum along")):
        limits = _limits(images)
        rows.append(
            [
                Panel(
                    image[window, window],
                    f"{name} {along}  ({across} →, {up} ↑)",
                    limits,
                    radius=radius,
                    scale=_scale(2 * half, pixel_size) if along == "z" else None,
                )
                for image, (across, up, along) in zip(images, seen, strict=True)
            ]
        )
    grid = [list(pair) for pair in zip(*rows, strict=True)] if upright else rows
    return arranged(grid, alt)


def particles_and_projections(
    images: Float[np.ndarray, "k n n"],
    projections: Float[np.ndarray, "k n n"],
    names: Sequence[str],
    pixel_size: float,
    alt: str,
) -> str:
    """Particles in a row, above what a map predicts of each."""
    from scipy.ndimage import gaussian_filter

    side = images.shape[-1]
    sigma = max(_SMOOTHED / pixel_size / 4, 0.01 * side)
    smooth = [gaussian_filter(image, sigma) for image in images]
    above = [
        Panel(image, name, _limits([image])) for image, name in zip(smooth, names, strict=True)
    ]
    below = [
        Panel(image, "", _limits([image]), scale=_scale(side, pixel_size) if not place else None)
        for place, image in enumerate(projections)
    ]
    return arranged([above, below], alt)


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
    panel = mollweide(cells, order, limits, 420.0 if wide else 300.0)
    return side_by_side([panel], alt, Bar("viridis", limits, label, mark))


def globe(cells: Float[np.ndarray, " c"], order: int, limits: tuple[float, float], alt: str) -> str:
    """Two sides of the sphere of directions, seen along z, coloured by the values of its cells."""
    side = (np.arange(240) + 0.5) / 120 - 1
    x, y = np.meshgrid(side, side)
    inside = x**2 + y**2 <= 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    panels = []
    for sign in (1, -1):
        # From below x runs to the left: else the picture would be mirrored.
        rot = np.degrees(np.arctan2(y, sign * x))
        values = cells[cell_of(rot, np.degrees(np.arccos(sign * z)), order)]
        image = np.where(inside, values, np.nan)
        panels.append(Panel(image, f"from {'+' if sign > 0 else '-'}z", limits, "viridis"))
    return side_by_side(panels, alt)


def coloured_sections(
    values: Float[np.ndarray, "n n n"],
    shown: Bool[np.ndarray, "n n n"],
    limits: tuple[float, float],
    label: str,
    alt: str,
) -> str:
    """Central sections across z, y, x, coloured by value where ``shown``."""
    middle, masked = values.shape[0] // 2, np.where(shown, values, np.nan)
    panels = [
        Panel(np.take(masked, middle, axis=axis), f"Section across {name}", limits, "viridis_r")
        for axis, name in enumerate("zyx")
    ]
    return side_by_side(panels, alt, Bar("viridis_r", limits, label))
