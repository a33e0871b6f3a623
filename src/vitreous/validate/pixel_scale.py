"""Whether two maps show the same thing at different pixel sizes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from vitreous.reconstruct.solve import map_power

_SCALES = np.exp(np.linspace(-np.log(2.5), np.log(2.5), 185))
"""Ratios of pixel sizes that are tried, one per cent apart."""

_LEAST = 0.03
"""Departure from 1 below which a ratio counts as 1."""

_INNER = 3
"""Shells from which on spectra are compared: nearer the centre the box cuts them."""


def _spectrum(volume: Float[Tensor, "n n n"]) -> Float[np.ndarray, " s"]:
    """Logarithm of the power of every shell."""
    power = map_power(volume[None], volume.shape[-1] // 2)[0].clamp(min=1e-30)
    return np.asarray(power.log())


def best_scale(volume: Float[Tensor, "n n n"], other: Float[Tensor, "n n n"]) -> float:
    """Ratio by which a map's pixels must grow so that its power spectrum is like another's.

    The spectrum averaged over directions does not change as a map is turned or moved.  Only the
    shape of its logarithm is compared, over the shells that both have.
    """
    own, wanted = _spectrum(volume), _spectrum(other)
    shells = np.arange(len(wanted), dtype=float)

    def alike(scale: float) -> float:
        at = shells[_INNER:] * scale
        inside = at < len(own) - 1
        if inside.sum() < 2 * _INNER:
            return -1.0
        return float(np.corrcoef(np.interp(at[inside], shells, own), wanted[_INNER:][inside])[0, 1])

    found = float(max(_SCALES, key=alike))
    return found if abs(found - 1) > _LEAST else 1.0


def rescaled(volume: Float[Tensor, "n n n"], scale: float) -> Float[Tensor, "n n n"]:
    """Map on the same grid with its density ``scale`` times as large about the box centre."""
    centre = volume.shape[-1] // 2
    turned = ndimage.affine_transform(
        volume.numpy(), np.full(3, 1 / scale), centre * (1 - 1 / scale), order=3
    )
    return torch.from_numpy(turned)
