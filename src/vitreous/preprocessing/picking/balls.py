"""Balls: what a solid ball shows, within a ring as dense as the rest.

The Laplacian of a Gaussian asks for a deep rim round a blob, of the other contrast.  Particles that
touch leave none: there the gap between them answers as well as a particle does.  A ball less its
mean over a somewhat larger disc asks for little beyond the particle itself.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import fft

from vitreous.preprocessing.picking.matching import Matches, mirrored, spread, strongest
from vitreous.preprocessing.picking.prepared import Prepared

_SIZES = (0.9, 1.0, 1.1)
"""Diameters that are tried, over the particle's."""

_DISC = 1.2
"""Disc that the ball has a mean of 0 in, over its diameter."""


def ball(diameter: float) -> Float[np.ndarray, "b b"]:
    """Projection of a ball of a diameter in pixels, with a mean of 0 within the disc."""
    box = 2 * int(_DISC * diameter / 2) + 4
    axis = np.arange(box) - box // 2
    radius = np.hypot(axis[:, None], axis)
    image = np.sqrt(np.clip(1 - (2 * radius / diameter) ** 2, 0, None))
    inside = radius <= _DISC * diameter / 2
    return np.where(inside, image - image[inside].mean(), 0.0).astype(np.float32)


def match_balls(prepared: Prepared, diameter: float) -> Matches:
    """Score every place by the ball that suits it best, in robust standard deviations.

    Parameters
    ----------
    prepared : Prepared
    diameter : float
        Of the particles, angstrom.
    """
    margin = int(np.ceil(max(_SIZES) * _DISC * diameter / prepared.pixel_size))
    padded, inside = mirrored(prepared.image, margin)
    shape = padded.shape
    transform = fft.rfft2(padded)

    def answer(size: float) -> Float[np.ndarray, "h w"]:
        image = ball(size * diameter / prepared.pixel_size)[None]
        return fft.irfft2(transform * np.conj(fft.rfft2(spread(image, shape)[0])), s=shape)[inside]

    return strongest(answer(size) for size in _SIZES)
