"""Filters of maps in Fourier space."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.fourier import from_half_fourier, half_frequency_radius, to_half_fourier
from vitreous.physics.masks import cosine_edge

_EDGE = 2.0
"""Shells of a low-pass filter's raised-cosine edge, centred on the resolution."""


def low_pass_window(
    box: int, pixel_size: float, resolution: float, device: torch.device | None = None
) -> Float[Tensor, "n n h"]:
    """One below ``resolution`` (angstrom), zero beyond, over a raised cosine of two shells.

    For the coefficients of :func:`vitreous.math.fourier.to_half_fourier`.
    """
    shell = box * pixel_size / resolution
    return cosine_edge(half_frequency_radius(box, device), shell - _EDGE / 2, _EDGE)


def low_pass(
    volume: Float[Tensor, "n n n"], pixel_size: float, resolution: float
) -> Float[Tensor, "n n n"]:
    """Map without the frequencies beyond ``resolution``; lengths in angstrom."""
    window = low_pass_window(volume.shape[-1], pixel_size, resolution, volume.device)
    return from_half_fourier(to_half_fourier(volume) * window)
