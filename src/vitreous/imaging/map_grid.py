"""Maps that users bring: checked, measured, and brought to another grid."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.errors import InputError
from vitreous.math.fourier import crop_or_pad, resample_map


def cubic(array: Float[np.ndarray, "z y x"], path: Path | str) -> Float[Tensor, "n n n"]:
    """Array as a tensor.

    Raises
    ------
    InputError
        If it is no cube, tiny or constant.
    """
    volume = torch.from_numpy(array)
    if len(set(volume.shape)) != 1 or volume.shape[0] < 8:
        raise InputError(
            f"is {' x '.join(map(str, volume.shape))}, expected a cube",
            where=path,
            hint="crop or pad it to a cube",
        )
    if volume.std() == 0:
        raise InputError("is constant", where=path, hint="give a map with density in it")
    return volume


def on_grid(
    volume: Float[Tensor, "m m m"], own: float, box: int, pixel_size: float
) -> Float[Tensor, "n n n"]:
    """Bring a map to another grid: padded to a field that the new pixel divides, then resampled."""
    if abs(own / pixel_size - 1) > 1e-4:
        side = int(volume.shape[-1])
        fields = [(abs(s * own / pixel_size % 1 - 0.5), s) for s in range(side, 2 * side, 2)]
        _, side = max(fields)
        volume = crop_or_pad(volume, side, 3)
        volume = resample_map(volume, round(side * own / pixel_size / 2) * 2)
    return crop_or_pad(volume, box, 3)


def extent(volume: Float[Tensor, "n n n"], pixel_size: float) -> float:
    """Diameter in angstrom of the centred ball that holds 99 % of the density above its mean."""
    above = (volume - volume.mean()).clamp(min=0)
    above = above.where(above > 0.1 * above.max(), 0.0)
    side = volume.shape[-1]
    squares = (torch.arange(side) - side // 2) ** 2
    in_section = (squares[:, None] + squares).flatten()
    most = 3 * int(squares.max())
    density = torch.zeros(most + 1, dtype=torch.float64)  # by squared radius, in pixels
    for section, square in zip(above.double(), squares.tolist(), strict=True):
        density += torch.bincount(in_section + square, section.flatten(), minlength=most + 1)
    share = density.cumsum(0) / density.sum()
    return 2 * (math.sqrt(int((share < 0.99).sum())) + 1) * pixel_size
