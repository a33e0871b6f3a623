"""Reading a map between its voxels, along its axes: another pixel size, box or place."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def _reading(old: int, new: int, step: float, start: float) -> Float[Tensor, "new old"]:
    """Matrix that reads a line of ``old`` values at ``new`` points, ``step`` pixels apart.

    The line is the sum of the waves that it holds and that the points can carry; at a Nyquist
    frequency, which has no partner, half of it counts at either sign.
    """
    points = (torch.arange(new, dtype=torch.float64) - new // 2) * step + start
    pixels = torch.arange(old, dtype=torch.float64) - old // 2
    band = min(old, old / step) / 2
    waves = torch.arange(1, math.floor(band + 1e-6) + 1, dtype=torch.float64)
    weight = torch.where((waves - band).abs() < 1e-6, 1.0, 2.0) / old
    phase = 2 * math.pi / old * waves
    matrix = torch.full((new, old), 1 / old, dtype=torch.float64)
    for wave in (torch.cos, torch.sin):
        matrix += (wave(points[:, None] * phase) * weight) @ wave(pixels[:, None] * phase).T
    # A voxel reaches half a pixel to either side of its point.
    outside = (points < pixels[0] - 0.5 - 1e-6) | (points > pixels[-1] + 0.5 + 1e-6)
    matrix[outside] = 0
    return matrix.float()


def read_between(
    volume: Float[Tensor, "z y x"],
    shape: tuple[int, ...],
    step: float = 1.0,
    start: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> Float[Tensor, "z2 y2 x2"]:
    """Values of a map, as the waves it is made of, on another grid along the same axes.

    Grey levels stay as they are: a coarser grid leaves out what is beyond its Nyquist frequency.
    Beyond the map all is zero.

    Parameters
    ----------
    volume : tensor (z, y, x)
    shape : tuple of int
        Of the new grid, (z, y, x).
    step : float
        Between its points, in pixels of the map.
    start : tuple of float
        Where its centre (index n // 2) lies, (z, y, x) in pixels from the centre of the map.
    """
    for axis in range(3):
        matrix = _reading(volume.shape[axis], shape[axis], step, start[axis])
        volume = torch.tensordot(matrix.to(volume), volume, dims=([1], [axis])).movedim(0, axis)
    return volume.contiguous()


def moved(
    volume: Float[Tensor, "z y x"], shift: tuple[float, float, float]
) -> Float[Tensor, "z y x"]:
    """Move a map by ``shift`` pixels (x, y, z); what comes in at the edge is zero."""
    x, y, z = shift
    return read_between(volume, tuple(volume.shape), start=(-z, -y, -x))


def even_box(box: int, ratio: float) -> int:
    """Voxels of a map of ``box``, ``ratio`` times as many, rounded and then down to even.

    As RELION; an odd box may become even, never the reverse.
    """
    return round(box * ratio) // 2 * 2
