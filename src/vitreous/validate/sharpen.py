"""Sharpening: the B-factor of a Guinier plot, the detector's MTF, the weight of the FSC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.filters import b_factor_window
from vitreous.math.fourier import from_half_fourier, half_shell_means, per_coefficient
from vitreous.validate.fsc import first_below, shell_frequency

_NO_SIGNAL = 1e-4
"""FSC below which a shell, and all beyond it, are taken to hold no signal."""

_LEAST_SHELLS = 3
"""Shells that a Guinier fit needs at least."""


@dataclass(frozen=True)
class GuinierFit:
    """Straight line through the logarithm of the amplitudes over the frequency squared.

    Attributes
    ----------
    frequency_squared : array (shells,)
        1/angstrom^2.
    log_amplitude, log_weighted : array (shells,)
        Of the mean of the half-maps, and times the weight of the FSC (-infinity beyond its end).
    fitted : bool array (shells,)
    slope : float
        Angstrom^2.
    intercept : float
    correlation : float
        Of the fitted points.
    """

    frequency_squared: Float[np.ndarray, " s"]
    log_amplitude: Float[np.ndarray, " s"]
    log_weighted: Float[np.ndarray, " s"]
    fitted: np.ndarray
    slope: float
    intercept: float
    correlation: float

    @property
    def b_factor(self) -> float:
        """B-factor that makes the line level: negative sharpens.

        Amplitudes decay as exp(-B k^2 / 4), and multiplying by exp(-b k^2 / 4) with b = 4 slope
        undoes that.
        """
        return 4 * self.slope


def fsc_weight(curve: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Weight sqrt(2 FSC / (1 + FSC)) of each shell, zero from the first without signal on.

    It is the correlation that the mean of both halves is expected to have with the truth:
    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), appendix.
    """
    kept = np.arange(len(curve)) < first_below(curve, _NO_SIGNAL)
    positive = np.where(kept, curve, 0).clip(0, 1)
    weight: np.ndarray = np.sqrt(2 * positive / (1 + positive))
    return weight


def guinier_fit(
    spectrum: Complex[Tensor, "n n h"],
    weight: Float[np.ndarray, " s"],
    pixel_size: float,
    fit_from: float,
    fit_to: float | None = None,
) -> GuinierFit | None:
    """Fit a line to a Guinier plot, or None where fewer than three shells can be fitted.

    Parameters
    ----------
    spectrum : tensor (n, n, n // 2 + 1)
        Of :func:`vitreous.math.fourier.to_half_fourier`.
    weight : array (shells,)
        Of :func:`fsc_weight`.
    pixel_size : float
        Angstrom.
    fit_from, fit_to : float
        Angstrom; by default to the last shell that has a weight, as ``relion_postprocess``.

    Notes
    -----
    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
    """
    mean = half_shell_means(spectrum.abs())[0].cpu().numpy()
    frequency = shell_frequency(spectrum.shape[0], pixel_size)
    with np.errstate(divide="ignore"):
        log_amplitude, log_weighted = np.log(mean), np.log(mean * weight)
    fitted = np.isfinite(log_weighted) & (frequency * fit_from >= 1)
    if fit_to is not None:
        fitted &= frequency * fit_to <= 1
    if fitted.sum() < _LEAST_SHELLS:
        return None
    x, y = frequency[fitted] ** 2, log_weighted[fitted]
    slope, intercept = np.polyfit(x, y, 1)
    correlation = float(np.corrcoef(x, y)[0, 1])
    return GuinierFit(
        frequency**2,
        log_amplitude,
        log_weighted,
        fitted,
        float(slope),
        float(intercept),
        correlation,
    )


def sharpened(
    spectrum: Complex[Tensor, "n n h"],
    weight: Float[np.ndarray, " s"],
    b_factor: float,
    pixel_size: float,
) -> Float[Tensor, "n n n"]:
    """Map of a spectrum times the shells' weight and exp(-b k^2 / 4).

    Parameters
    ----------
    spectrum : tensor (n, n, n // 2 + 1)
        Of :func:`vitreous.math.fourier.to_half_fourier`.
    weight : array (shells,)
    b_factor : float
        Angstrom^2; negative sharpens.
    pixel_size : float
        Angstrom.
    """
    box, device = spectrum.shape[0], spectrum.device
    envelope = b_factor_window(box, pixel_size, b_factor, device)
    return from_half_fourier(spectrum * envelope * per_coefficient(weight, box, device))
