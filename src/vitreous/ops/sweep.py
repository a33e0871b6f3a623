"""Posterior weights of a tile of images on a processor, compiled by numba.

One sweep over the products Z of :mod:`vitreous.ops.angular`: each image and shift is turned
to its in-plane angles, exponentiated against the highest score so far, summed, and turned back,
all within the processor's nearest cache.  The scores themselves are never written to memory.

The eager twin is :func:`vitreous.ops.weights.weigh_eagerly`; a test holds the two equal.

For LLVM to make vector instructions of them, inner loops index whole arrays by loop variables
(an index of unknown sign might count from the end), hold one sum each, and take the number of
terms from the length of a tuple, which is known when compiled.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from vitreous.math.constants import LOWEST
from vitreous.ops.bfloat16 import FAST, bits_of_float, float_of_bits, narrowed, widened
from vitreous.ops.jit import kernel

_LOWEST = np.float32(LOWEST)
_ROUNDER = np.float32(1.5 * 2**23)
"""Added to a float32, it leaves the nearest integer in the lowest bits."""

_E0, _E1, _E2, _E3, _E4, _E5 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(6))


@njit(fastmath=FAST)
def _exp2(x: Any) -> Any:
    """Two to the power x: Taylor's series about the nearest integer, to 3e-6 of the value."""
    x = max(x, np.float32(-120))
    rounded = x + _ROUNDER
    f = x - (rounded - _ROUNDER)
    y = ((((_E5 * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0
    return float_of_bits(bits_of_float(y) + (bits_of_float(rounded) << np.int32(23)))


@njit(fastmath=FAST, error_model="numpy")
def _product(matrix: Any, x: Any, part: int, out: Any, to: int, terms: Any, lanes: int) -> None:
    """Product out[to] = matrix x[part], whose inner dimension is the length of ``terms``."""
    for i in range(matrix.shape[0]):
        for j in range(lanes):
            total = np.float32(0)
            for k in range(len(terms)):
                total += matrix[i, k] * x[part, k, j]
            out[to, i, j] = total


@njit(fastmath=FAST, error_model="numpy")
def _four_angles(s: Any, top: Any, lanes: int) -> None:
    """Scores at psi, psi + pi, -psi and pi - psi, from the sums that these angles share.

    The sums are those over even cosines, even sines, odd cosines and odd sines.  ``top`` gets the
    highest of each reference.
    """
    for j in range(lanes):
        top[j] = _LOWEST
    for q in range(s.shape[1]):
        for j in range(lanes):
            even, odd = s[0, q, j] + s[1, q, j], s[2, q, j] + s[3, q, j]
            even_back, odd_back = s[0, q, j] - s[1, q, j], s[2, q, j] - s[3, q, j]
            s[0, q, j] = even + odd
            s[1, q, j] = even - odd
            s[2, q, j] = even_back + odd_back
            s[3, q, j] = even_back - odd_back
        for j in range(lanes):
            high = max(max(s[0, q, j], s[1, q, j]), max(s[2, q, j], s[3, q, j]))
            top[j] = max(top[j], high)


@njit(fastmath=FAST, error_model="numpy")
def _four_sums(s: Any, high: Any, total: Any, lanes: int) -> None:
    """Exponentiate the scores and undo :func:`_four_angles`; ``total`` gets their sums.

    At the first and the last quarter step the four angles are two, each there twice.
    """
    last = s.shape[1] - 1
    for j in range(lanes):
        total[j] = np.float32(0)
    for q in range(s.shape[1]):
        share = np.float32(0.5) if q == 0 or q == last else np.float32(1)
        for k in range(4):
            for j in range(lanes):
                s[k, q, j] = _exp2(s[k, q, j] - high) * share
        for j in range(lanes):
            here, there = s[0, q, j] + s[1, q, j], s[2, q, j] + s[3, q, j]
            here_odd, there_odd = s[0, q, j] - s[1, q, j], s[2, q, j] - s[3, q, j]
            s[0, q, j] = here + there
            s[1, q, j] = here - there
            s[2, q, j] = here_odd + there_odd
            s[3, q, j] = here_odd - there_odd
            total[j] += here + there


@njit(fastmath=FAST, error_model="numpy")
def _angle_of(s: Any, reference: int, score: Any) -> int:
    """Index of the in-plane angle with this score."""
    quarter = s.shape[1] - 1
    for q in range(quarter + 1):
        if s[0, q, reference] == score:
            return q
        if s[1, q, reference] == score:
            return q + 2 * quarter
        if s[2, q, reference] == score:
            return (4 * quarter - q) % (4 * quarter)
        if s[3, q, reference] == score:
            return 2 * quarter - q
    return 0


@kernel(fastmath=FAST, error_model="numpy")
def sweep(
    products: Any,
    norms: Any,
    shifts: int,
    lanes: int,
    turns: Any,
    even: Any,
    odd: Any,
    quarter: Any,
    negligible: Any,
    back: bool,
    orientation_posterior: Any,
    peak: Any,
    place: Any,
    columns: Any,
    scale: Any,
) -> int:
    """Weigh all places of some images; see :func:`vitreous.ops.weights.weigh`.

    Parameters
    ----------
    products : array (residues, images * shifts, 2, references)
        Float32, or the bits of bfloat16 as uint16; even residues first.  If ``back``, the turned
        weights of the columns (images and shifts) that matter are left here, one after the other
        from the first, relative to the best score at the time.
    norms : float32 array (even residues, images, 2, references)
        Added to the products of every shift; if ``back``, the turned weights summed over shifts
        are left here, relative to ``peak``.
    shifts : int
    lanes : int
        References dealt with at once: a divisor of their number, a multiple of 16 for speed.
    turns : tuple of eight float32 arrays
        Cosines and sines (quarter steps, residues) of even, then of odd residues; and transposes.
    even, odd, quarter : tuples
        As long as there are even residues, odd ones, and steps in a quarter turn, both ends
        counted.
    negligible : float32
        Powers of two below an image's best score from which places are left out.
    back : bool
        Whether the turned weights are wanted.
    orientation_posterior : float32 array (images, references)
        Gets the sums of weights, relative to ``peak``.
    peak : float32 array (images,)
        Gets the highest score, in powers of two.
    place : int64 array (images, 3)
        Gets its in-plane angle, reference and shift.
    columns : int64 array (images * shifts,)
        Gets the numbers of the columns that matter.
    scale : float32 array (images * shifts,)
        Gets the factors that make their turned weights relative to ``peak``.

    Returns
    -------
    kept : int
        Number of columns that matter.
    """
    residues, references = products.shape[0], products.shape[3]
    chunks = references // lanes
    cos_even, sin_even, cos_odd, sin_odd, even_cos, even_sin, odd_cos, odd_sin = turns
    s = np.empty((chunks, 4, len(quarter), lanes), np.float32)
    top = np.empty((chunks, lanes), np.float32)
    total = np.empty(lanes, np.float32)
    rows_even = np.empty((2, len(even), lanes), np.float32)
    rows_odd = np.empty((2, len(odd), lanes), np.float32)
    summed = np.empty((len(even), 2, references), np.float32)
    kept = 0
    for image in range(norms.shape[1]):
        high, first = _LOWEST, kept
        for d in range(references):
            orientation_posterior[image, d] = np.float32(0)
            for r in range(len(even)):
                summed[r, 0, d] = np.float32(0)
                summed[r, 1, d] = np.float32(0)
        for t in range(shifts):
            x = image * shifts + t
            best, at = _LOWEST, 0
            for c in range(chunks):
                for r in range(len(even)):
                    for k in range(2):
                        for j in range(lanes):
                            rows_even[k, r, j] = (
                                widened(products[r, x, k, c * lanes + j])
                                + norms[r, image, k, c * lanes + j]
                            )
                for r in range(len(odd)):
                    for k in range(2):
                        for j in range(lanes):
                            rows_odd[k, r, j] = widened(
                                products[r + len(even), x, k, c * lanes + j]
                            )
                _product(cos_even, rows_even, 0, s[c], 0, even, lanes)
                _product(sin_even, rows_even, 1, s[c], 1, even, lanes)
                _product(cos_odd, rows_odd, 0, s[c], 2, odd, lanes)
                _product(sin_odd, rows_odd, 1, s[c], 3, odd, lanes)
                _four_angles(s[c], top[c], lanes)
                for j in range(lanes):
                    if top[c, j] > best:
                        best, at = top[c, j], c * lanes + j
            if best > high:
                # What was summed so far was relative to a lower score.
                factor = _exp2(high - best)
                high = best
                for d in range(references):
                    orientation_posterior[image, d] *= factor
                    for r in range(len(even)):
                        summed[r, 0, d] *= factor
                        summed[r, 1, d] *= factor
                place[image, 0] = _angle_of(s[at // lanes], at % lanes, best)
                place[image, 1] = at
                place[image, 2] = t
            if best < high - negligible:
                continue
            columns[kept] = x
            scale[kept] = high
            for c in range(chunks):
                highest = _LOWEST
                for j in range(lanes):
                    highest = max(highest, top[c, j])
                if highest < high - negligible:
                    if back:
                        for r in range(residues):
                            for k in range(2):
                                for j in range(lanes):
                                    products[r, kept, k, c * lanes + j] = 0
                    continue
                _four_sums(s[c], high, total, lanes)
                for j in range(lanes):
                    orientation_posterior[image, c * lanes + j] += total[j]
                if not back:
                    continue
                _product(even_cos, s[c], 0, rows_even, 0, quarter, lanes)
                _product(even_sin, s[c], 1, rows_even, 1, quarter, lanes)
                _product(odd_cos, s[c], 2, rows_odd, 0, quarter, lanes)
                _product(odd_sin, s[c], 3, rows_odd, 1, quarter, lanes)
                for r in range(len(even)):
                    for k in range(2):
                        for j in range(lanes):
                            summed[r, k, c * lanes + j] += rows_even[k, r, j]
                            products[r, kept, k, c * lanes + j] = narrowed(
                                rows_even[k, r, j], products[0, 0, 0, 0]
                            )
                for r in range(len(odd)):
                    for k in range(2):
                        for j in range(lanes):
                            products[r + len(even), kept, k, c * lanes + j] = narrowed(
                                rows_odd[k, r, j], products[0, 0, 0, 0]
                            )
            kept += 1
        peak[image] = high
        for column in range(first, kept):
            scale[column] = _exp2(scale[column] - high)
        if back:
            for r in range(len(even)):
                for k in range(2):
                    for d in range(references):
                        norms[r, image, k, d] = summed[r, k, d]
    return kept


@lru_cache
def quarter_turns(n_psi: int) -> tuple[tuple[np.ndarray, ...], Any, Any, Any]:
    """Arguments ``turns``, ``even``, ``odd`` and ``quarter`` of :func:`sweep`."""
    steps = np.arange(n_psi // 4 + 1) * (2 * math.pi / n_psi)
    by_parity = [np.arange(parity, n_psi // 2 + 1, 2) for parity in (0, 1)]
    forth = [
        np.ascontiguousarray(wave, dtype=np.float32)
        for r in by_parity
        for wave in (np.cos(np.outer(steps, r)), -np.sin(np.outer(steps, r)))
    ]
    turns = (*forth, *(np.ascontiguousarray(matrix.T) for matrix in forth))
    even, odd = ((0,) * len(r) for r in by_parity)
    return turns, even, odd, (0,) * len(steps)
