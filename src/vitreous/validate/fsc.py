"""Fourier shell correlation and the resolution read from it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.fourier import shell_index, shell_mean, to_fourier


def fsc(a: Float[Tensor, "n n n"], b: Float[Tensor, "n n n"]) -> Float[Tensor, " s"]:
    """Correlation of two maps in each shell up to Nyquist, shell 0 first (float64).

    Harauz & van Heel, Optik 73, 146 (1986).
    """
    box = a.shape[-1]
    shells, count = shell_index(box, 3, a.device), box // 2 + 1
    fa, fb = to_fourier(a, 3), to_fourier(b, 3)
    cross = shell_mean((fa * fb.conj()).real, shells, count)
    power = shell_mean(fa.abs() ** 2, shells, count) * shell_mean(fb.abs() ** 2, shells, count)
    return torch.where(power > 0, cross / power.sqrt().clamp(min=1e-300), 0.0)


def resolution_at(
    curve: Float[np.ndarray, " s"], threshold: float, box: int, pixel_size: float
) -> float | None:
    """Resolution in angstrom where a curve first falls below ``threshold``.

    The crossing is interpolated between shells; Nyquist if there is none, and None if the first
    shell is below already.
    """
    below = np.flatnonzero(curve[1:] < threshold) + 1
    if len(below) == 0:
        return 2 * pixel_size
    shell = int(below[0])
    if shell == 1:
        return None
    drop = curve[shell - 1] - curve[shell]
    crossing = shell - 1 + (curve[shell - 1] - threshold) / drop
    return float(box * pixel_size / crossing)
