"""Micrographs made ready for picking: small, without their background and their extremes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import fft
from scipy.ndimage import find_objects, label, uniform_filter1d

_PIXELS_ACROSS = 24
"""Of a particle's diameter: finer detail of it is noise on one micrograph."""

_FINEST = 4.0
"""Pixel size, angstrom, that a micrograph is not resampled below."""

_BACKGROUND = 2.5
"""Of a particle's diameter: what is longer is ice that changes, not particles."""

_CLIPPED = 6.0
"""Robust standard deviations that pixels are cut to."""

_PADDING = 0.25
"""Median difference of neighbouring lines over the usual one, below which they are copies."""

_NEAR = 15
"""Lines of which most must be copies."""


@dataclass(frozen=True)
class Prepared:
    """A micrograph ready for picking.

    Attributes
    ----------
    image : array (y, x)
        Standardised, without slow changes.
    slow : array (y, x)
        The micrograph at the same pixels with all its slow changes.
    pixel_size : float
        Angstrom.
    scale, origin : tuple of float
        Pixels of the micrograph to each of this image, and where the centre of the first one lies,
        along x and y.
    """

    image: Float[np.ndarray, "h w"]
    slow: Float[np.ndarray, "h w"]
    pixel_size: float
    scale: tuple[float, float]
    origin: tuple[float, float]

    def inverted(self) -> Prepared:
        """The same with the contrast changed: what is found there is no particle."""
        return replace(self, image=-self.image)

    def on_micrograph(self, places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Places in pixels of the micrograph."""
        return places * np.array(self.scale) + np.array(self.origin)


def _recorded(image: Float[np.ndarray, "h w"], axis: int) -> slice:
    """The longest run of lines that differ: not the copies that alignment pads with."""
    lines = np.moveaxis(image, axis, 0)
    change = np.median(np.abs(np.diff(lines, axis=0)), axis=1)
    changes = uniform_filter1d((change > _PADDING * np.median(change)).astype(float), _NEAR)
    runs, count = label(changes > 0.5)
    if not count:
        return slice(0, len(lines))
    longest = find_objects(runs)[int(np.argmax(np.bincount(runs)[1:]))][0]
    return slice(longest.start, longest.stop + 1)


def robust_spread(values: Float[np.ndarray, "*n"]) -> float:
    """Standard deviation that a few outliers do not change."""
    middle = np.median(values)
    return float(1.4826 * np.median(np.abs(values - middle)))


def prepared_pixel(pixel_size: float, diameter: float) -> float:
    """Pixel size, angstrom, that micrographs are prepared at, but for a rounding of their sides."""
    return max(diameter / _PIXELS_ACROSS, _FINEST, pixel_size)


def prepare(micrograph: Float[np.ndarray, "a b"], pixel_size: float, diameter: float) -> Prepared:
    """Make a micrograph small, band-passed and clipped.

    Parameters
    ----------
    micrograph : array (y, x)
    pixel_size, diameter : float
        Of the micrograph and the particles, angstrom.
    """
    rows, columns = _recorded(micrograph, 0), _recorded(micrograph, 1)
    image = micrograph[rows, columns].astype(np.float32)
    target = prepared_pixel(pixel_size, diameter)
    height, width = image.shape
    sides = round(height * pixel_size / target), round(width * pixel_size / target)
    reach = 2 * _CLIPPED * float(image.std())
    # Cosines mirror the image at its border: a Fourier series would show ice there at the border
    # across.
    spectrum = fft.dctn(np.clip(image - image.mean(), -reach, reach), norm="ortho")
    spectrum = spectrum[: sides[0], : sides[1]]
    new = pixel_size * width / sides[1]
    y, x = (np.arange(side) / (2 * side * new) for side in sides)
    fast = 1 - np.exp(-2 * (np.pi * _BACKGROUND * diameter / 2) ** 2 * (x**2 + y[:, None] ** 2))
    small = fft.idctn(spectrum * fast, norm="ortho")
    small = np.clip(small / max(robust_spread(small), 1e-30), -_CLIPPED, _CLIPPED)
    scale = width / sides[1], height / sides[0]
    origin = columns.start + (scale[0] - 1) / 2, rows.start + (scale[1] - 1) / 2
    return Prepared(small, fft.idctn(spectrum, norm="ortho"), new, scale, origin)
