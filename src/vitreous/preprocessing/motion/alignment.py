"""Displacements of frames and patches that make the movie most likely.

The movie's likelihood, with the signal a normal variable, grows with the weighted power of the sum
of frames that are turned back (:func:`.spectra.likelihood_weights`).  All frames and patches are
aligned at once, so every frame is compared with the sum of all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from vitreous.ops.frame_sums import FrequencyRows, PatchSpectra, sum_power, turned_back
from vitreous.preprocessing.motion.spectra import likelihood_weights

_ROUNDS = 2
"""Times that weights and displacements are found from each other."""

_COARSE_ROUNDS = 3
_NEIGHBOURS = 1
"""Frames on either side that a frame is averaged with, for its first displacement."""

_MOST_STEPS, _ENOUGH = 60, 1e-7
"""Steps towards the most likely displacements, and the share of the cost that the last one gains:
what is left by then changes the error by less than 0.001 px."""


@dataclass(frozen=True)
class SplineModel:
    """What displacements may be, and how likely each is before the movie is seen.

    Attributes
    ----------
    space : array (patches, m)
        Values of the splines at the patches.
    time : array (frames, l)
        Values of the splines in the frames.
    precision : array (m l, m l)
        Inverse covariance of the coefficients along x, or along y; zero for no prior.
    """

    space: Float[np.ndarray, "p m"]
    time: Float[np.ndarray, "t l"]
    precision: Float[np.ndarray, "c c"]

    def displacements(self, coefficients: Float[np.ndarray, "m l 2"]) -> Float[np.ndarray, "p t 2"]:
        """Of each patch in each frame."""
        return np.einsum("pm,mld,tl->ptd", self.space, coefficients, self.time)

    def collected(self, slope: Float[np.ndarray, "p t 2"]) -> Float[np.ndarray, "m l 2"]:
        """Derivative by the coefficients from that by the displacements."""
        return np.einsum("pm,ptd,tl->mld", self.space, slope, self.time)


def free_frames(frames: int) -> SplineModel:
    """Every frame of the whole movie moves as it will."""
    return SplineModel(np.ones((1, 1)), np.eye(frames), np.zeros((frames, frames)))


def curvature(spectra: PatchSpectra, shifts: Float[np.ndarray, "p t 2"]) -> float:
    """Mean second derivative of minus the power by one displacement, near its maximum."""
    rows = spectra.rows
    radius = np.hypot(rows.x, rows.y[:, None])
    steep = PatchSpectra(spectra.real * radius, spectra.imag * radius, rows)
    power, _ = sum_power(steep, shifts)
    own = sum(float(np.vdot(part, part)) for part in (steep.real, steep.imag))
    patches, frames = shifts.shape[:2]
    return max((2 * np.pi) ** 2 * (power - own) / (patches * frames), 1e-3)


def most_likely(
    spectra: PatchSpectra, model: SplineModel, start: Float[np.ndarray, "m l 2"]
) -> Float[np.ndarray, "m l 2"]:
    """Coefficients at the maximum of the posterior that is reached from ``start``.

    By L-BFGS in variables in which the likelihood's mean curvature and the prior are a unit matrix:
    this takes a fifth of the steps that the coefficients themselves take.
    """
    steep = curvature(spectra, model.displacements(start))
    fit = np.kron(model.space.T @ model.space, model.time.T @ model.time)
    tiny = 1e-6 * steep * np.eye(len(fit))
    lower = cholesky(steep * fit + model.precision + tiny, lower=True)
    shape = (len(fit), 2)

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = solve_triangular(lower, flat.reshape(shape), lower=True, trans="T")
        displacements = model.displacements(coefficients.reshape(start.shape))
        power, slope = sum_power(spectra, displacements)
        pull = model.precision @ coefficients
        slope = pull - model.collected(slope).reshape(shape)
        value = 0.5 * float((coefficients * pull).sum()) - power
        return value, solve_triangular(lower, slope, lower=True).ravel()

    begin = (lower.T @ start.reshape(shape)).ravel()
    found = minimize(
        cost, begin, jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS, "ftol": _ENOUGH}
    )
    best = solve_triangular(lower, found.x.reshape(shape), lower=True, trans="T")
    return np.asarray(best.reshape(start.shape))


def weighted(
    spectra: Complex[np.ndarray, "p t rows columns"],
    rows: FrequencyRows,
    shifts: Float[np.ndarray, "p t 2"],
) -> PatchSpectra:
    """Spectra times the root of their weights, which the displacements known so far tell."""
    weights = likelihood_weights(turned_back(spectra, rows, shifts), rows)
    parts: PatchSpectra = PatchSpectra.of(spectra * np.sqrt(weights), rows)
    return parts


def _peak(correlation: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " 2"]:
    """Place of the highest value along x and y, from the middle, in samples."""
    row, column = np.unravel_index(int(correlation.argmax()), correlation.shape)
    sides = np.array(correlation.shape[::-1])
    return (np.array([column, row]) + sides // 2) % sides - sides // 2.0


def coarse_shifts(
    spectra: Complex[np.ndarray, "t rows columns"], rows: FrequencyRows
) -> Float[np.ndarray, "t 2"]:
    """Each frame, with its neighbours, against the sum of the others, to about a pixel.

    Parameters
    ----------
    spectra : array (frames, rows, columns)
        Low frequencies.
    rows : FrequencyRows
    """
    frames, high, wide = len(spectra), len(rows.y) // 2, len(rows.x)
    size = scipy.fft.next_fast_len(2 * max(2 * high, 2 * wide))
    radius = np.hypot(rows.y[:, None], rows.x)
    soft = np.exp(-2 * (radius / rows.x[-1]) ** 2)
    soft[0, 0] = 0
    soft *= np.arange(wide) < rows.widths[:, None]
    step = 1 / (size * np.array([rows.x[1], rows.y[1]]))
    shifts, padded = np.zeros((frames, 2)), np.zeros((size, size // 2 + 1), np.complex64)
    for _ in range(_COARSE_ROUNDS):
        turned = turned_back(spectra, rows, shifts)
        total = turned.sum(0)
        for t in range(frames):
            some = turned[max(0, t - _NEIGHBOURS) : t + _NEIGHBOURS + 1].sum(0)
            product = np.conj(total - some) * some * soft
            padded[: high + 1, :wide], padded[-high:, :wide] = (
                product[: high + 1],
                product[high + 1 :],
            )
            shifts[t] += _peak(scipy.fft.irfft2(padded, (size, size))) * step
    return shifts


def align_frames(
    spectra: Complex[np.ndarray, "t rows columns"],
    rows: FrequencyRows,
    start: Float[np.ndarray, "t 2"],
) -> tuple[Float[np.ndarray, "t 2"], float]:
    """Displacement of each frame as a whole, of mean zero, and its standard error; pixels."""
    model, shifts = free_frames(len(spectra)), start
    for _ in range(_ROUNDS):
        parts = weighted(spectra[None], rows, shifts[None])
        shifts = most_likely(parts, model, shifts[None])[0]
    return shifts - shifts.mean(0), curvature(parts, shifts[None]) ** -0.5
