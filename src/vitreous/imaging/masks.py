"""Soft masks and the windows that keep edges from ringing."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor

from vitreous.math.fourier import frequency_radius, resample_values


def cosine_edge(radius: Real[Tensor, "*n"], inner: float, width: float) -> Float[Tensor, "*n"]:
    """One inside ``inner``, zero beyond ``inner + width``, a raised cosine between."""
    ramp = ((radius - inner) / max(width, 1e-6)).clamp(0, 1)
    return 0.5 * (1 + torch.cos(math.pi * ramp))


def soft_sphere(
    box: int,
    radius: float,
    edge: float,
    ndim: int = 3,
    device: torch.device | None = None,
) -> Float[Tensor, "*n"]:
    """Centred disc (``ndim`` 2) or ball (3), radius in pixels, with a soft edge outside it."""
    return cosine_edge(frequency_radius(box, ndim, device), radius, edge)


def mask_in_box(mask: Float[Tensor, "n n n"], box: int) -> Float[Tensor, "m m m"]:
    """A mask on a grid of the same field of view with this many pixels."""
    return resample_values(mask, box, 3).clamp(0, 1)
