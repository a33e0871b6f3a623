"""Fourier shell correlation and the resolution read from it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.math.fourier import half_shell_means, to_half_fourier

THRESHOLD = 0.143
"""FSC of two half-maps that the resolution is read at: Rosenthal & Henderson, J. Mol. Biol. 333,
721 (2003)."""

_STRETCH, _CLEAR = 3, 0.1
"""Shells, and how far above the threshold their mean is, by which a curve rises again."""


def correlation(
    cross: Float[Tensor, "*s"], power_a: Float[Tensor, "*s"], power_b: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """Correlation from sums of products and of powers; 0 where there is no power."""
    power = power_a * power_b
    return torch.where(power > 0, cross / power.sqrt().clamp(min=1e-300), 0.0)


def fsc_of_spectra(a: Complex[Tensor, "n n h"], b: Complex[Tensor, "n n h"]) -> Float[Tensor, " s"]:
    """Correlation of two half spectra in each shell up to Nyquist, shell 0 first (float64).

    Harauz & van Heel, Optik 73, 146 (1986).
    """
    return correlation(*half_shell_means((a * b.conj()).real, a.abs() ** 2, b.abs() ** 2))


def fsc(a: Float[Tensor, "n n n"], b: Float[Tensor, "n n n"]) -> Float[Tensor, " s"]:
    """Correlation of two maps in each shell up to Nyquist, shell 0 first (float64)."""
    return fsc_of_spectra(to_half_fourier(a), to_half_fourier(b))


def shell_frequency(box: int, pixel_size: float) -> Float[np.ndarray, " s"]:
    """Frequency (1/angstrom) of the shells up to Nyquist, shell 0 first."""
    return np.arange(box // 2 + 1) / (box * pixel_size)


def first_below(curve: Float[np.ndarray, " s"], threshold: float) -> int:
    """First shell after shell 0 that is below ``threshold``; the number of shells if none is."""
    below = np.flatnonzero(curve[1:] < threshold)
    return int(below[0]) + 1 if len(below) else len(curve)


def crossing(
    curves: Float[np.ndarray, "p s"], threshold: float, first: int = 1
) -> Float[np.ndarray, " p"]:
    """Shell, interpolated, where each curve first falls below ``threshold`` from ``first`` on.

    The last shell for a curve that never does, and ``first`` for one that is below already.
    """
    below = curves[:, first:] < threshold
    stop = np.where(below.any(axis=1), below.argmax(axis=1), below.shape[1] - 1) + first
    rows = np.arange(len(curves))
    high, low = curves[rows, np.maximum(stop - 1, first)], curves[rows, stop]
    share = np.clip((high - threshold) / np.maximum(high - low, 1e-12), 0, 1)
    shell: np.ndarray = np.where(stop > first, stop - 1 + share, first)
    return shell


def rises_again(curve: Float[np.ndarray, " s"], threshold: float) -> int | None:
    """Last shell of the last stretch above ``threshold`` after the first fall, if there is one.

    A few shells that reach it by chance do not count.
    """
    fall = first_below(curve, threshold)
    above = np.concatenate([[False], curve[fall:] >= threshold, [False]])
    starts, ends = (np.flatnonzero(np.diff(above.astype(int)) == step) + fall for step in (1, -1))
    clear = [
        end - 1
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        if end - start >= _STRETCH and curve[start:end].mean() >= threshold + _CLEAR
    ]
    return clear[-1] if clear else None


def dip_warnings(
    curve: Float[np.ndarray, " s"], box: int, pixel_size: float, threshold: float = THRESHOLD
) -> list[str]:
    """Say that a curve rises again after its first fall, where its resolution is read."""
    last, before = rises_again(curve, threshold), first_below(curve, threshold) - 1
    if last is None:
        return []
    read = "in the first shell" if before == 0 else f"beyond {box * pixel_size / before:.1f} A"
    return [
        f"The FSC falls below {threshold:g} {read} and is above it again up to "
        f"{box * pixel_size / last:.1f} A. The resolution is read at the first fall, as RELION "
        "does. Hollow and ball-like molecules have such dips, where they have no signal; so have "
        "masks with artefacts. Look at the curve."
    ]


def resolution_at(
    curve: Float[np.ndarray, " s"], threshold: float, box: int, pixel_size: float
) -> float | None:
    """Resolution in angstrom where a curve first falls below ``threshold``.

    The crossing is interpolated between shells; Nyquist if there is none, and None if the first
    shell is below already.
    """
    shell = first_below(curve, threshold)
    if shell == len(curve):
        return 2 * pixel_size
    if shell == 1:
        return None
    return float(box * pixel_size / crossing(curve[None], threshold)[0])


def resolution_of_shell(
    curve: Float[np.ndarray, " s"], threshold: float, box: int, pixel_size: float
) -> float | None:
    """Resolution in angstrom of the last shell before a curve first falls below ``threshold``.

    This is what RELION reports: coarser than :func:`resolution_at` by up to a shell, and never
    finer.  None if the first shell is below already.
    """
    shell = first_below(curve, threshold) - 1
    return None if shell == 0 else float(box * pixel_size / shell)
