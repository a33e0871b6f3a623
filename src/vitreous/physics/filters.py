"""Filters of maps in Fourier space."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.physics.masks import cosine_edge

_EDGE = 2.0
"""Shells of a low-pass filter's raised-cosine edge, centred on the resolution."""


def low_pass_window(
    box: int, pixel_size: float, resolution: float, device: torch.device | None = None
) -> Float[Tensor, "n n n"]:
    """One below ``resolution`` (angstrom), zero beyond, over a raised cosine of two shells."""
    shell = box * pixel_size / resolution
    return cosine_edge(frequency_radius(box, 3, device), shell - _EDGE / 2, _EDGE)


def low_pass(
    volume: Float[Tensor, "n n n"], pixel_size: float, resolution: float
) -> Float[Tensor, "n n n"]:
    """Map without the frequencies beyond ``resolution``; lengths in angstrom."""
    window = low_pass_window(volume.shape[-1], pixel_size, resolution, volume.device)
    return to_real(to_fourier(volume, 3) * window, 3)
