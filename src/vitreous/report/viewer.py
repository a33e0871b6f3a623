"""The interactive 3D view: a map packed into 8 bits, a contour to start from, a still picture."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter

from vitreous.math.fourier import crop_or_pad, resample_values
from vitreous.report.rendering import part

SIDE = 64
"""Voxels along the edge of the cube that the browser is given."""

_DENSE_SHARE = 0.02
"""Share of the box's volume that the first contour encloses where nothing speaks against it."""

_LEAST_SIGMA = 2.0
"""The first contour is no lower than this many standard deviations above the mean."""

_FINER = 4
"""Pixels of the still picture in a voxel."""

_HEADROOM, _BELOW = 5.0, 1.5
"""Highest and lowest density kept, above and below the mean, in multiples of the first contour: a
spike must not use up the 8 bits, and sections show what lies below the mean, too."""


@dataclass(frozen=True)
class View:
    """A map made ready for the browser.

    Attributes
    ----------
    texture : uint8 array (z, y, x)
        0 stands for ``low``, 255 for ``high``; what lies outside is clipped.
    low, high : float
        Density.
    mean, sigma : float
        Of the whole map's density.
    level : float
        Density of the first contour.
    width : float
        Edge of the cube in angstrom.
    reach : float
        Distance from the cube's centre that all but outliers of the first contour lie within, as
        a share of ``width``.
    """

    texture: UInt8[np.ndarray, "z y x"]
    low: float
    high: float
    mean: float
    sigma: float
    level: float
    width: float
    reach: float

    def density(self) -> Float[np.ndarray, "z y x"]:
        """Decode the texture."""
        return self.low + self.texture.astype(np.float32) / 255 * (self.high - self.low)


def default_level(volume: Float[np.ndarray, "z y x"]) -> float:
    """Density of a contour that is likely to show the particle.

    It encloses the densest 2 % of the box, but keeps at least two standard deviations above the
    mean, and always lies between the mean and the highest density.
    """
    mean, sigma, top = float(volume.mean()), float(volume.std()), float(volume.max())
    level = max(float(np.quantile(volume, 1 - _DENSE_SHARE)), mean + _LEAST_SIGMA * sigma)
    return level if mean < level < top else (mean + top) / 2


def fitted(
    volume: Float[np.ndarray, "n n n"], pixel_size: float, mask_diameter: float | None
) -> tuple[Float[np.ndarray, "m m m"], float]:
    """Cut a cube round the mask, resampled to at most ``SIDE`` voxels.

    Returns
    -------
    cube : array
    pixel_size : float
        Its voxels' edge, angstrom.
    """
    box = volume.shape[0]
    wanted = box if not mask_diameter else min(box, int(1.06 * mask_diameter / pixel_size) + 2)
    # Resampled before it is cut: the whole box is periodic, a piece of it is not.
    new_box = round(box * SIDE / wanted / 2) * 2
    cube = torch.from_numpy(np.array(volume, dtype=np.float32))
    cube = resample_values(cube, new_box, 3)
    cube = crop_or_pad(cube, min(SIDE, new_box), 3)
    return cube.numpy(), pixel_size * box / new_box


def make_view(
    volume: Float[np.ndarray, "n n n"], pixel_size: float, mask_diameter: float | None = None
) -> View:
    """Pack a map for the browser.

    Parameters
    ----------
    volume : array (z, y, x)
    pixel_size : float
        Angstrom.
    mask_diameter : float, optional
        Angstrom; the surroundings are cut away.
    """
    cube, voxel = fitted(volume, pixel_size, mask_diameter)
    mean, level = float(volume.mean()), default_level(volume)
    high = min(float(cube.max()), mean + _HEADROOM * (level - mean))
    high = max(high, mean + 1e-12)
    low = max(float(cube.min()), mean - _BELOW * (level - mean))
    low = min(low, mean)
    return View(
        in_bytes(cube, low, high),
        low,
        high,
        mean,
        float(volume.std()),
        min(level, mean + 0.95 * (high - mean)),
        cube.shape[0] * voxel,
        _reach(cube >= level),
    )


def in_bytes(
    values: Float[np.ndarray, "z y x"], low: float, high: float
) -> UInt8[np.ndarray, "z y x"]:
    """Values from ``low`` to ``high`` as 0 to 255; what lies outside is clipped."""
    scaled = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(np.round(scaled * 255).astype(np.uint8))


@dataclass(frozen=True)
class Tint:
    """Values that colour a surface, such as a local resolution.

    Attributes
    ----------
    texture : uint8 array (z, y, x)
        On the grid of the :class:`View`; 0 stands for ``low``, 255 for ``high``.
    low, high : float
    unit : str
    """

    texture: UInt8[np.ndarray, "z y x"]
    low: float
    high: float
    unit: str


def make_tint(
    values: Float[np.ndarray, "n n n"],
    pixel_size: float,
    mask_diameter: float | None,
    limits: tuple[float, float],
    unit: str,
) -> Tint:
    """Pack values for the browser, as :func:`make_view` packs the map that they colour."""
    cube, _ = fitted(values, pixel_size, mask_diameter)
    low, high = limits[0], max(limits[1], limits[0] + 1e-6)
    return Tint(in_bytes(cube, low, high), low, high, unit)


def _reach(inside: Bool[np.ndarray, "m m m"]) -> float:
    side = inside.shape[0]
    places = np.argwhere(inside) - side // 2
    if not len(places):
        return 0.5
    farthest = float(np.quantile(np.linalg.norm(places, axis=1), 0.998)) + 1
    return max(0.15, farthest / float(side))


def _first_crossing(
    density: Float[np.ndarray, "z y x"], level: float
) -> tuple[Float[np.ndarray, "y x"], np.ndarray]:
    """Height at which a ray coming down z meets the contour, and which rays do."""
    inside = density >= level
    met = inside.any(axis=0)
    top = density.shape[0] - 1 - inside[::-1].argmax(axis=0)
    above = np.minimum(top + 1, density.shape[0] - 1)
    here, there = (np.take_along_axis(density, z[None], 0)[0] for z in (top, above))
    share = np.clip((here - level) / np.maximum(here - there, 1e-12), 0, 1)
    return np.where(met, top + share, 0.0), np.asarray(met)


def shaded_picture(view: View, rgb: tuple[float, float, float]) -> Float[np.ndarray, "y x 4"]:
    """Still picture (RGBA in 0 to 1, y upwards) of the first contour, seen from +z."""
    coarse = torch.from_numpy(view.density())
    side = _FINER * coarse.shape[0]
    fine = torch.nn.functional.interpolate(
        coarse[None], (side, side), mode="bilinear", align_corners=True
    )
    density = fine[0].numpy()
    height, met = _first_crossing(density, view.level)
    depth = height / density.shape[0]
    height = gaussian_filter(_FINER * height, 1.2)
    slope_y, slope_x = np.gradient(height)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.clip(normal @ np.array([-0.42, 0.57, 0.71]), 0, 1)
    shade = (0.3 + 0.75 * light) * (0.55 + 0.5 * depth)
    picture = np.ones((*met.shape, 4))
    picture[..., :3] = np.clip(shade[..., None] * np.array(rgb), 0, 1)
    picture[..., 3] = met
    return picture


def _png(picture: Float[np.ndarray, "y x 4"]) -> str:
    """Data URI of a picture whose first row is the lowest."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, origin="lower", format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _base64(texture: UInt8[np.ndarray, "z y x"]) -> str:
    return base64.b64encode(texture.tobytes()).decode()


def viewer(view: View, name: str, colour: str, tint: Tint | None = None) -> str:
    """HTML of one viewer.

    Parameters
    ----------
    view : View
    name : str
        What is shown, for those who hear the page; escaped here.
    colour : str
        ``#rrggbb``.
    tint : Tint, optional
        Colours the surface in its place.
    """
    from matplotlib.colors import to_rgb

    rgb = to_rgb(colour)
    data = {
        "side": str(view.texture.shape[0]),
        "low": f"{view.low:.8g}",
        "high": f"{view.high:.8g}",
        "mean": f"{view.mean:.8g}",
        "sigma": f"{view.sigma:.8g}",
        "level": f"{view.level:.8g}",
        "width": f"{view.width:.6g}",
        "reach": f"{view.reach:.4f}",
        "colour": " ".join(f"{c:.4f}" for c in rgb),
    }
    legend = (
        None if tint is None else (f"{tint.low:.1f} {tint.unit}", f"{tint.high:.1f} {tint.unit}")
    )
    still = _png(shaded_picture(view, rgb))
    textures = [_base64(view.texture), None if tint is None else _base64(tint.texture)]
    return part("viewer", data, name, still, textures, legend)
