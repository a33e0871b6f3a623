"""Images at every shift, and the coefficients that products need, compiled by numba.

The eager twins are the torch lines of :func:`vitreous.ops.spectra.spectra_eagerly`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitreous.ops.bfloat16 import FAST, narrowed
from vitreous.ops.jit import kernel


@kernel(fastmath=FAST, error_model="numpy")
def shifted(
    images: Any, contrast: Any, cosines: Any, sines: Any, real: Any, imaginary: Any
) -> None:
    """CTF times image times the phases of every shift, as real and imaginary parts.

    Parameters
    ----------
    images : float32 array (images, samples, 2)
        Real and imaginary.
    contrast : float32 array (images, samples)
    cosines, sines : float32 arrays (shifts, samples)
        Parts of the phases.
    real, imaginary : arrays (images * shifts, samples)
        Float32, or the bits of bfloat16 as uint16.
    """
    count, shifts = images.shape[1], cosines.shape[0]
    a, b = np.empty(count, np.float32), np.empty(count, np.float32)
    for n in range(images.shape[0]):
        for q in range(count):
            a[q] = images[n, q, 0] * contrast[n, q]
            b[q] = images[n, q, 1] * contrast[n, q]
        for t in range(shifts):
            for q in range(count):
                real[n * shifts + t, q] = narrowed(
                    a[q] * cosines[t, q] - b[q] * sines[t, q], real[0, 0]
                )
            for q in range(count):
                imaginary[n * shifts + t, q] = narrowed(
                    a[q] * sines[t, q] + b[q] * cosines[t, q], real[0, 0]
                )


@kernel(fastmath=FAST, error_model="numpy")
def picked(everywhere: Any, places: Any, out: Any) -> None:
    """Chosen columns of an array."""
    for x in range(everywhere.shape[0]):
        for i in range(places.shape[0]):
            out[x, i] = everywhere[x, places[i]]
