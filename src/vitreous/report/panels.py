"""Pictures made of pixels: panels side by side, drawn as SVG by a template."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.math.cells import cell_of
from vitreous.report.chart import round_ticks
from vitreous.report.rendering import part

_EDGE, _GAP, _TITLE, _BAR = 130.0, 6.0, 14.0, 62.0
"""Width of a panel, distance between panels, height of a title, width of a colour bar."""


@dataclass(frozen=True)
class Spot:
    """A circle over a picture, in units of the page; a disc if it is filled."""

    x: float
    y: float
    radius: float
    colour: str
    filled: bool = False


@dataclass(frozen=True)
class Panel:
    """A picture.

    Attributes
    ----------
    image : array (y, x)
        Its first row is the lowest; NaN is not drawn.
    title : str
    limits : tuple of float
        Values of the darkest and the brightest pixel.
    colours : str
        Colour map.
    radius : float, optional
        Of a circle round the middle, as a share of the width.
    scale : tuple of float and str, optional
        Length of a scale bar as a share of the width, and its word.
    width : float
    lines : tuple of str
        SVG paths over the picture.
    words : tuple of (float, float, str)
        Words over it, and where.
    spots : tuple of Spot
    """

    image: Float[np.ndarray, "y x"]
    title: str
    limits: tuple[float, float]
    colours: str = "gray"
    radius: float | None = None
    scale: tuple[float, str] | None = None
    width: float = _EDGE
    lines: tuple[str, ...] = ()
    words: tuple[tuple[float, float, str], ...] = ()
    spots: tuple[Spot, ...] = ()

    @property
    def height(self) -> float:
        """As wide as the picture's proportions make it."""
        return self.width * self.image.shape[0] / self.image.shape[1]

    def placed(self, x: float, y: float) -> dict[str, Any]:
        """What the template needs of it."""
        return {
            "x": round(x, 1),
            "y": round(y, 1),
            "width": self.width,
            "height": self.height,
            "image": png(self.image, self.limits, self.colours),
            "title": self.title,
            "radius": self.radius and self.radius * self.width,
            "scale": self.scale and (self.scale[0] * self.width, self.scale[1]),
            "lines": self.lines,
            "words": self.words,
            "spots": self.spots,
        }


@dataclass(frozen=True)
class Bar:
    """Scale of the colours; ``mark`` is drawn on it."""

    colours: str
    limits: tuple[float, float]
    label: str
    mark: float | None = None

    def placed(self, x: float, y: float, height: float) -> dict[str, Any]:
        """What the template needs of it."""
        low, high = self.limits
        ramp = np.linspace(low, high, 128)[:, None]

        def at(value: float) -> float:
            return height * (high - value) / (high - low)

        return {
            "x": round(x, 1),
            "y": round(y, 1),
            "height": height,
            "image": png(ramp, self.limits, self.colours),
            "ticks": [(at(value), f"{value:g}") for value in round_ticks(low, high)],
            "mark": None if self.mark is None else at(self.mark),
            "label": self.label,
        }


def png(image: Float[np.ndarray, "y x"], limits: tuple[float, float], colours: str) -> str:
    """Data address of a picture; its first row is the lowest, and NaN is not drawn."""
    from matplotlib import colormaps
    from matplotlib.image import imsave

    low, high = limits
    scaled = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    pixels = colormaps[colours](scaled, bytes=True)
    pixels[~np.isfinite(image)] = 0
    buffer = io.BytesIO()
    imsave(buffer, pixels, origin="lower", format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def arranged(grid: Sequence[Sequence[Panel]], alt: str) -> str:
    """Panels in rows and columns."""
    placed, y, widest = [], 0.0, 0.0
    for row in grid:
        y += _TITLE if any(panel.title for panel in row) else _GAP
        x = 0.0
        for panel in row:
            placed.append(panel.placed(x, y))
            x += panel.width + _GAP
        y, widest = y + max(panel.height for panel in row), max(widest, x - _GAP)
    return part("panels", alt, (widest, y + 2), placed, None)


def side_by_side(panels: Sequence[Panel], alt: str, bar: Bar | None = None) -> str:
    """Panels in a row, with a scale of their colours."""
    placed, x = [], 0.0
    height = max(panel.height for panel in panels)
    for panel in panels:
        placed.append(panel.placed(x, _TITLE))
        x += panel.width + _GAP
    scale = None if bar is None else bar.placed(x + _GAP, _TITLE, height)
    return part("panels", alt, (x + (_BAR if bar else 0), height + _TITLE + 6), placed, scale)


def _flattened(rot: np.ndarray, tilt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mollweide's map of directions in degrees, from -1 to 1 along both axes.

    With latitude b: x = (rot / 180) cos(t), y = sin(t), where 2 t + sin(2 t) = pi sin(b).
    """
    wanted = np.pi * np.cos(np.radians(tilt))
    t = np.arcsin(np.clip(wanted / np.pi, -1, 1))
    for _ in range(30):  # Newton's method; at the poles, where it divides 0 by 0, t is right
        slope = np.maximum(2 + 2 * np.cos(2 * t), 1e-9)
        t = np.clip(t - (2 * t + np.sin(2 * t) - wanted) / slope, -np.pi / 2, np.pi / 2)
    return rot / 180 * np.cos(t), np.sin(t)


def mollweide(
    cells: Float[np.ndarray, " c"], order: int, limits: tuple[float, float], width: float
) -> Panel:
    """Equal-area map of the values of HEALPix cells, with its graticule."""
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in (260, 520)), indexing="ij")
    angle = np.arcsin(y)
    tilt = np.degrees(np.arccos(np.clip((2 * angle + np.sin(2 * angle)) / np.pi, -1, 1)))
    rot = 180 * x / np.maximum(np.cos(angle), 1e-9)
    inside = np.abs(rot) <= 180
    values = cells[cell_of(np.where(inside, rot, 0.0), tilt, order)]

    def at(rot: np.ndarray, tilt: np.ndarray) -> list[tuple[float, float]]:
        u, v = _flattened(rot, tilt)
        return [(width / 2 * (1 + a), width / 4 * (1 - b)) for a, b in zip(u, v, strict=True)]

    along, across = np.linspace(-180, 180, 91), np.linspace(0, 180, 61)
    meridians = [at(np.full_like(across, r), across) for r in (-120, -60, 0, 60, 120)]
    parallels = [at(along, np.full_like(along, t)) for t in (30, 60, 90, 120, 150)]
    words = [
        *((at(np.array([r]), np.array([90.0]))[0], f"{r}°") for r in (-120, -60, 60, 120)),
        *((at(np.array([0]), np.array([float(t)]))[0], f"{t}°") for t in (30, 60, 90, 120, 150)),
    ]
    return Panel(
        np.where(inside, values, np.nan),
        "rot to the right, tilt downwards",
        limits,
        "viridis",
        width=width,
        lines=tuple(
            "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in line) for line in meridians + parallels
        ),
        words=tuple((x, y - 2, word) for (x, y), word in words),
    )
