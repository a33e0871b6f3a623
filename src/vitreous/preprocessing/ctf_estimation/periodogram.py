"""Power spectra of a micrograph's tiles, averaged over regions of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import fft

TILE = 720.0
"""Side of a tile, angstrom: Thon rings of 4 micrometres of defocus are apart at 3.8 A."""

_FINEST = 1.4
"""Pixel size, angstrom, below which a micrograph is resampled first: nothing beyond is fitted."""

_REGIONS = 6
"""Regions along each side, at most."""

_CLIPPED = 8.0
"""Standard deviations beyond which a pixel is no signal: hot pixels, X-rays."""

_UNLIKE = 1.6
"""Ratio of a tile's contrast to the median's beyond which it is an edge, a bar or a contaminant."""


@dataclass(frozen=True)
class RegionSpectra:
    """Mean periodograms of a micrograph's regions.

    Attributes
    ----------
    power : array (regions, n, n // 2 + 1)
        Of half the frequencies, zero first.
    tiles : int array (regions,)
        How many each is the mean of.
    centres : array (regions, 2)
        Mean place (x, y) of its tiles from the micrograph's middle, angstrom.
    steps : tuple of float
        Between frequencies along y and x, 1/angstrom.
    left_out : int
        Tiles unlike the others, which are in none.
    """

    power: Float[np.ndarray, "r n h"]
    tiles: Int[np.ndarray, " r"]
    centres: Float[np.ndarray, "r 2"]
    steps: tuple[float, float]
    left_out: int


def _even(length: float) -> int:
    return 2 * round(length / 2)


def resampled(
    image: Float[np.ndarray, "h w"], pixel_size: float, finest: float
) -> tuple[Float[np.ndarray, "h2 w2"], tuple[float, float]]:
    """The image at no less than a pixel size, and what its pixels have become along y and x."""
    if pixel_size >= finest:
        return image, (pixel_size, pixel_size)
    height, width = image.shape
    sides = _even(height * pixel_size / finest), _even(width * pixel_size / finest)
    spectrum = fft.rfft2(image)
    rows = np.r_[0 : sides[0] // 2, -sides[0] // 2 : 0]
    small = fft.irfft2(spectrum[rows, : sides[1] // 2 + 1], s=sides)
    small *= sides[0] * sides[1] / (height * width)
    return small, (pixel_size * height / sides[0], pixel_size * width / sides[1])


def _starts(length: int, tile: int) -> Int[np.ndarray, " k"]:
    """First pixels of tiles that overlap by half or more and reach from end to end."""
    count = max(1, math.ceil((length - tile) / (tile // 2)) + 1) if length > tile else 1
    return np.linspace(0, length - tile, count).round().astype(int)


def _clipped(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    mean, deviation = float(image.mean()), float(image.std())
    return np.clip(image, mean - _CLIPPED * deviation, mean + _CLIPPED * deviation)


def _usable(contrast: Float[np.ndarray, " t"]) -> np.ndarray:
    """Which tiles are like the others; all if that would leave less than half of them."""
    ratio = contrast / max(float(np.median(contrast)), 1e-30)
    good = (ratio < _UNLIKE) & (ratio > 1 / _UNLIKE)
    return good if 2 * good.sum() >= len(good) else contrast > 0


def region_spectra(image: Float[np.ndarray, "h w"], pixel_size: float) -> RegionSpectra:
    """Mean periodograms of the regions of a micrograph, of Hann-windowed tiles.

    Parameters
    ----------
    image : array (y, x)
    pixel_size : float
        Angstrom.
    """
    small, (pixel_y, pixel_x) = resampled(_clipped(image), pixel_size, _FINEST)
    small = np.ascontiguousarray(small, dtype=np.float32)
    side = fft.next_fast_len(_even(min(TILE / pixel_y, *small.shape)), real=True)
    side = side if side <= min(small.shape) else 2 * (min(small.shape) // 2)
    ys, xs = (_starts(length, side) for length in small.shape)
    corners = [(y, x) for y in ys for x in xs]
    contrast = np.array([small[y : y + side, x : x + side].std() for y, x in corners])
    usable = _usable(contrast)
    window = np.hanning(side + 1)[:side].astype(np.float32)
    window = np.outer(window, window)
    across = min(_REGIONS, len(ys)), min(_REGIONS, len(xs))
    power = np.zeros((across[0] * across[1], side, side // 2 + 1), dtype=np.float32)
    tiles, centres = np.zeros(len(power), dtype=int), np.zeros((len(power), 2))
    for number in np.flatnonzero(usable):
        y, x = corners[number]
        row, column = divmod(int(number), len(xs))
        region = (row * across[0] // len(ys)) * across[1] + column * across[1] // len(xs)
        tile = small[y : y + side, x : x + side]
        spectrum = fft.rfft2((tile - tile.mean()) * window)
        power[region] += spectrum.real**2 + spectrum.imag**2
        tiles[region] += 1
        middle = (x + (side - small.shape[1]) / 2, y + (side - small.shape[0]) / 2)
        centres[region] += np.multiply(middle, (pixel_x, pixel_y))
    full = tiles > 0
    power, tiles, centres = power[full], tiles[full], centres[full] / tiles[full, None]
    power /= tiles[:, None, None] * float((window**2).sum())
    steps = 1 / (side * pixel_y), 1 / (side * pixel_x)
    return RegionSpectra(power, tiles, centres, steps, int((~usable).sum()))
