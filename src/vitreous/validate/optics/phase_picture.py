"""Phase errors over the Fourier plane, as measured beside as fitted: what people look at."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from vitreous.validate.optics.phase_fit import PhaseSums

_BLUR = 1.0
"""Standard deviation in pixels of the Gaussian that measured phases are averaged over."""


def on_plane(values: Complex[Tensor, " p"], steps: Float[Tensor, "p 2"]) -> Complex[Tensor, "s s"]:
    """Values of half the Fourier plane and, at minus their frequency, their conjugates.

    Parameters
    ----------
    values : complex tensor (pixels,)
    steps : tensor (pixels, 2)
        Frequencies (x, y) in whole steps.

    Returns
    -------
    Complex tensor (side, side) of y and x, zero frequency in the middle, 0 where nothing is given.
    """
    reach = int(steps.abs().max())
    plane = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=values.dtype)
    x, y = steps.long().unbind(1)
    plane[reach - y, reach - x] = values.conj()
    plane[reach + y, reach + x] = values
    return plane


def phase_pictures(
    sums: PhaseSums, fitted: Float[Tensor, " p"], steps: Float[Tensor, "p 2"]
) -> Float[np.ndarray, "3 s s"]:
    """Phases in radians, from -pi to pi: measured, fitted, and measured less fitted.

    Parameters
    ----------
    sums : PhaseSums
        Of odd aberrations at pixels (p,): the likeliest phase of a pixel is that of its sum P, and
        that of several the phase of their summed P.
    fitted : tensor (pixels,)
        Radians.
    steps : tensor (pixels, 2)
        Frequencies (x, y) in whole steps, half of the plane.
    """
    fit = torch.polar(torch.ones_like(fitted), fitted).to(sums.first.dtype)
    measured, model, rest = (
        on_plane(part, steps).numpy() for part in (sums.first, fit, sums.first * fit.conj())
    )
    inside = model != 0
    return np.stack(
        [np.angle(part) * inside for part in (_blurred(measured), model, _blurred(rest))]
    ).astype(np.float32)


def _blurred(plane: Complex[np.ndarray, "s s"]) -> Complex[np.ndarray, "s s"]:
    blurred: np.ndarray = gaussian_filter(plane, _BLUR)
    return blurred
