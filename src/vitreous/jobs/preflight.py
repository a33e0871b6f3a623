"""What the images themselves say before a search begins."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vitreous.jobs.images import Frame, RingImages

_FIRST_ZERO = 4.4934
"""Where the transform of a ball first crosses zero: tan x = x."""


def _ball(x: Tensor) -> Tensor:
    """Transform of a uniform ball at x = 2 pi k radius, 1 at 0."""
    return 3 * (torch.sin(x) - x * torch.cos(x)) / x**3


def contrast_score(images: RingImages, frame: Frame) -> float:
    """Mean density at the particles' place in standard errors: positive for white particles.

    Each image is compared, on the innermost rings, with a ball half as wide as the mask under its
    CTF.  Noise has no preference and scores within a few of zero; dark particles score below it.
    """
    radii = frame.polar.radii()
    x = 2 * math.pi * radii * (frame.mask_radius / 2) / frame.box
    inner = x < _FIRST_ZERO
    rings = max(2, int(inner.sum()))
    weight = _ball(x[:rings]) * frame.polar.sample_area()[:rings]
    samples, ctf = images.samples[:, :rings].real.cpu(), images.ctf[:, :rings].cpu()
    each = ((samples * ctf).sum(dim=2) * weight).sum(dim=1).double()
    error = each.std() / math.sqrt(len(each))
    return float(each.mean() / error.clamp(min=1e-30))
