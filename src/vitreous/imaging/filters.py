"""Filters of maps in Fourier space."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.imaging.masks import cosine_edge
from vitreous.math.fourier import (
    from_half_fourier,
    half_frequency_radius,
    per_coefficient,
    to_half_fourier,
)

_EDGE = 2.0
"""Shells of a filter's raised-cosine edge, centred on the resolution."""


def low_pass_window(
    box: int,
    pixel_size: float,
    resolution: float,
    device: torch.device | None = None,
    edge: float = _EDGE,
) -> Float[Tensor, "n n h"]:
    """One below ``resolution`` (angstrom), zero beyond, over a raised cosine of two shells.

    For the coefficients of :func:`vitreous.math.fourier.to_half_fourier`.
    """
    shell = box * pixel_size / resolution
    return cosine_edge(half_frequency_radius(box, device), shell - edge / 2, edge)


def low_pass(
    volume: Float[Tensor, "n n n"], pixel_size: float, resolution: float, edge: float = _EDGE
) -> Float[Tensor, "n n n"]:
    """Map without the frequencies beyond ``resolution``.

    Parameters
    ----------
    volume : tensor (n, n, n)
    pixel_size, resolution : float
        Angstrom.
    edge : float
        Shells over which the filter falls off, half of them to either side.
    """
    window = low_pass_window(volume.shape[-1], pixel_size, resolution, volume.device, edge)
    return from_half_fourier(to_half_fourier(volume) * window)


def by_shells(
    volume: Float[Tensor, "*k n n n"], curve: Float[np.ndarray, " s"]
) -> Float[Tensor, "*k n n n"]:
    """Maps with every shell multiplied by its value of ``curve``, zero beyond the last."""
    weight = per_coefficient(curve, volume.shape[-1], volume.device)
    return from_half_fourier(to_half_fourier(volume) * weight)


def high_pass(
    volume: Float[Tensor, "n n n"], pixel_size: float, resolution: float, edge: float = _EDGE
) -> Float[Tensor, "n n n"]:
    """Map without what :func:`low_pass` keeps, the mean included."""
    return volume - low_pass(volume, pixel_size, resolution, edge)


def b_factor_window(
    box: int, pixel_size: float, b_factor: float, device: torch.device | None = None
) -> Float[Tensor, "n n h"]:
    """exp(-B k^2 / 4) up to Nyquist, zero in the corners of the cube beyond.

    For the coefficients of :func:`vitreous.math.fourier.to_half_fourier`.
    """
    radius = half_frequency_radius(box, device)
    decay = torch.exp(-b_factor / 4 * (radius / (box * pixel_size)) ** 2)
    return torch.where(radius <= box / 2, decay, 0.0)


def with_b_factor(
    volume: Float[Tensor, "n n n"], pixel_size: float, b_factor: float
) -> Float[Tensor, "n n n"]:
    """Map blurred by a B-factor or, where it is negative, sharpened.

    Parameters
    ----------
    volume : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    b_factor : float
        Angstrom^2.
    """
    window = b_factor_window(volume.shape[-1], pixel_size, b_factor, volume.device)
    return from_half_fourier(to_half_fourier(volume) * window)
