"""Sums of equal Gaussians on a grid, exact and in closed form."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_CHUNK = 1024


def gaussian_sum(
    positions: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"],
    width: float,
    box: int,
    pixel_size: float,
) -> Float[Tensor, "box box box"]:
    """Sum of Gaussians of standard deviation ``width`` (angstrom), (z, y, x) about the box centre.

    Parameters
    ----------
    positions : array (n, 3)
        x, y, z in angstrom from the box centre.
    weights : array (n,)
        Sum over the pixels of each Gaussian.
    """
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * pixel_size
    scale = pixel_size / (width * math.sqrt(2 * math.pi))
    total = torch.zeros(box, box * box)
    for start in range(0, len(positions), _CHUNK):
        centres = torch.from_numpy(positions[start : start + _CHUNK])
        x, y, z = (
            (scale * torch.exp(-((axis - centres[:, d, None]) ** 2) / (2 * width**2))).float()
            for d in range(3)
        )
        z = z * torch.from_numpy(weights[start : start + _CHUNK]).float()[:, None]
        plane = (y[:, :, None] * x[:, None, :]).flatten(1)
        total += z.T @ plane
    return total.view(box, box, box)
