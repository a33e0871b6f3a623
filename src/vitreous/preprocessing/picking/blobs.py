"""Blobs: the Laplacian of a Gaussian, of several diameters, round or elliptical."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import fft

from vitreous.preprocessing.picking.matching import Matches, mirrored, strongest
from vitreous.preprocessing.picking.prepared import Prepared

_DIAMETERS, _TURNS = 3, 4
"""Diameters, and directions of ellipses, that are tried."""

_ROUND = 1.5
"""Ratio of both diameters up to which circles alone are tried."""

_REACH = 1.5
"""Of a blob's diameter: a Laplacian of a Gaussian is nothing farther from its centre."""


@dataclass(frozen=True)
class Blob:
    """Diameters along both axes, angstrom, and the azimuth of the first, radians."""

    along: float
    across: float
    angle: float = 0.0


def blobs_between(least: float, most: float) -> tuple[Blob, ...]:
    """Circles of diameters between two, angstrom, and ellipses of both if they differ by much."""
    round_ones = tuple(Blob(size, size) for size in np.linspace(least, most, _DIAMETERS).tolist())
    if most < _ROUND * least:
        return round_ones
    turns = (turn * math.pi / _TURNS for turn in range(_TURNS))
    return round_ones + tuple(Blob(most, least, angle) for angle in turns)


def match_blobs(prepared: Prepared, blobs: tuple[Blob, ...]) -> Matches:
    """Score every place by the blob that suits it best, in robust standard deviations.

    The Laplacian of a Gaussian of deviation d / (2 sqrt 2) answers best to a disc of diameter d:
    Lindeberg, Int. J. Comput. Vis. 30, 79 (1998).
    """
    pixel = prepared.pixel_size
    margin = math.ceil(_REACH * max(max(blob.along, blob.across) for blob in blobs) / pixel)
    image, inside = mirrored(prepared.image, margin)
    shape = image.shape
    transform = fft.rfft2(image)
    y, x = fft.fftfreq(shape[0], pixel)[:, None], fft.rfftfreq(shape[1], pixel)

    def answer(blob: Blob) -> Float[np.ndarray, "h w"]:
        cosine, sine = math.cos(blob.angle), math.sin(blob.angle)
        along, across = (x * cosine + y * sine) * blob.along, (y * cosine - x * sine) * blob.across
        square = (math.pi**2 / 4) * (along**2 + across**2)  # 2 pi^2 sigma^2 k^2
        return fft.irfft2(transform * square * np.exp(-square), s=shape)[inside]

    return strongest(answer(blob) for blob in blobs)
