"""How well shifted frames agree: the power of their sum, and its derivative by the shifts.

For each of several patches of a movie with frames F_t(k) that the content is displaced in by s_t,

    power = sum over k of |sum over t of F_t(k) exp(2 pi i k s_t)|^2

:func:`sum_power` is compiled by numba; :func:`sum_power_eagerly` is its readable twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex, Float, Int
from numba import njit

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel


@dataclass(frozen=True)
class FrequencyRows:
    """Frequencies of half a transform, row by row, out to a radius.

    Attributes
    ----------
    y, x : float32 arrays (rows,) and (columns,)
        Cycles a pixel.
    widths : int array (rows,)
        Columns of each row that lie within the radius.
    """

    y: Float[np.ndarray, " rows"]
    x: Float[np.ndarray, " columns"]
    widths: Int[np.ndarray, " rows"]


@dataclass(frozen=True)
class PatchSpectra:
    """Transforms of every patch in every frame, real and imaginary parts apart.

    Attributes
    ----------
    real, imag : float32 arrays (patches, frames, rows, columns)
    rows : FrequencyRows
    """

    real: Float[np.ndarray, "p t rows columns"]
    imag: Float[np.ndarray, "p t rows columns"]
    rows: FrequencyRows

    @classmethod
    def of(cls, spectra: Complex[np.ndarray, "p t rows columns"], rows: FrequencyRows) -> Any:
        """Parts of complex spectra."""
        return cls(np.ascontiguousarray(spectra.real), np.ascontiguousarray(spectra.imag), rows)


@njit(fastmath=FAST, error_model="numpy")
def _turn(shift: Any, ky: Any, kx: Any, row: Any, column: Any) -> None:
    """Phase factors of a shift along y and along x, of which a frequency's is the product."""
    two_pi = np.float32(2 * np.pi)
    for i in range(len(ky)):
        angle = two_pi * ky[i] * shift[1]
        row[0, i], row[1, i] = np.cos(angle), np.sin(angle)
    for j in range(len(kx)):
        angle = two_pi * kx[j] * shift[0]
        column[0, j], column[1, j] = np.cos(angle), np.sin(angle)


@njit(fastmath=FAST, error_model="numpy")
def _add_row(re: Any, im: Any, a: Any, b: Any, column: Any, total: Any, width: int) -> None:
    """Add a frame's row, turned by (a, b) and the column's factors, to the total."""
    for j in range(width):
        c, s = a * column[0, j] - b * column[1, j], a * column[1, j] + b * column[0, j]
        total[0, j] += re[j] * c - im[j] * s
        total[1, j] += re[j] * s + im[j] * c


@njit(fastmath=FAST, error_model="numpy")
def _slope_of_row(
    re: Any, im: Any, a: Any, b: Any, column: Any, total: Any, kx: Any, width: int
) -> Any:
    """Sums over a row of Im(conj(total) R), and of the same times kx; R is the turned frame."""
    plain, times_x = np.float32(0), np.float32(0)
    for j in range(width):
        c, s = a * column[0, j] - b * column[1, j], a * column[1, j] + b * column[0, j]
        turned_re, turned_im = re[j] * c - im[j] * s, re[j] * s + im[j] * c
        part = total[0, j] * turned_im - total[1, j] * turned_re
        plain += part
        times_x += part * kx[j]
    return plain, times_x


@kernel(fastmath=FAST, error_model="numpy")
def _sum_power(real: Any, imag: Any, ky: Any, kx: Any, widths: Any, shifts: Any) -> Any:
    patches, frames, rows, columns = real.shape
    row = np.empty((frames, 2, rows), np.float32)
    column = np.empty((frames, 2, columns), np.float32)
    slope = np.zeros((patches, frames, 2))
    total = np.empty((2, columns), np.float32)
    power = 0.0
    for p in range(patches):
        for t in range(frames):
            _turn(shifts[p, t], ky, kx, row[t], column[t])
        for i in range(rows):
            width = widths[i]
            total[:] = 0
            for t in range(frames):
                a, b = row[t, 0, i], row[t, 1, i]
                _add_row(real[p, t, i], imag[p, t, i], a, b, column[t], total, width)
            for j in range(width):
                power += np.float64(total[0, j] * total[0, j] + total[1, j] * total[1, j])
            for t in range(frames):
                a, b = row[t, 0, i], row[t, 1, i]
                plain, times_x = _slope_of_row(
                    real[p, t, i], imag[p, t, i], a, b, column[t], total, kx, width
                )
                slope[p, t, 0] += times_x
                slope[p, t, 1] += plain * ky[i]
    slope *= -4 * np.pi  # d|total|^2 = 2 Re(conj(total) i 2 pi k R) ds
    return power, slope


def sum_power(
    spectra: PatchSpectra, shifts: Float[np.ndarray, "p t 2"]
) -> tuple[float, Float[np.ndarray, "p t 2"]]:
    """Power of the sum of frames turned back, and its derivative by the displacements.

    Parameters
    ----------
    spectra : PatchSpectra
    shifts : array (patches, frames, 2)
        Displacement of the content along x and y, pixels.
    """
    rows = spectra.rows
    power, slope = _sum_power(
        spectra.real,
        spectra.imag,
        rows.y,
        rows.x,
        rows.widths,
        np.ascontiguousarray(shifts, np.float32),
    )
    return float(power), slope


def turned_back(
    spectra: Complex[np.ndarray, "p t rows columns"],
    rows: FrequencyRows,
    shifts: Float[np.ndarray, "p t 2"],
) -> Complex[np.ndarray, "p t rows columns"]:
    """Spectra of frames as they would be without the displacements."""
    y = np.exp(2j * np.pi * shifts[..., 1, None] * rows.y).astype(np.complex64)
    x = np.exp(2j * np.pi * shifts[..., 0, None] * rows.x).astype(np.complex64)
    turned = spectra * y[..., :, None]
    turned *= x[..., None, :]
    return turned


def sum_power_eagerly(
    spectra: PatchSpectra, shifts: Float[np.ndarray, "p t 2"]
) -> tuple[float, Float[np.ndarray, "p t 2"]]:
    """The readable twin of :func:`sum_power`."""
    rows = spectra.rows
    inside = np.arange(len(rows.x)) < rows.widths[:, None]
    complex_ = (spectra.real + 1j * spectra.imag) * inside
    turned = turned_back(complex_, rows, shifts)
    total = turned.sum(1, keepdims=True)
    slope = -4 * np.pi * (total.conj() * turned).imag
    along_x, along_y = (slope * rows.x).sum((2, 3)), (slope * rows.y[:, None]).sum((2, 3))
    return float((np.abs(total) ** 2).sum()), np.stack([along_x, along_y], -1)
