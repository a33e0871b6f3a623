"""What two half-maps share: unmasked, masked, and with the mask's own correlation taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.math.fourier import from_half_fourier, half_frequency_radius, to_half_fourier
from vitreous.validate.fsc import first_below, fsc_of_spectra

_RANDOMISE_BELOW = 0.8
"""Phases are randomised from the shell on where the unmasked FSC falls below this."""

_LEAKAGE = 2
"""Shells over which the mask spreads what was not randomised: not corrected."""


@dataclass(frozen=True)
class HalfMapCurves:
    """Fourier shell correlations of two half-maps, shell 0 first.

    Attributes
    ----------
    unmasked, masked : array (shells,)
    randomised : array (shells,)
        Masked, after the phases of either half were randomised: the correlation that the mask
        makes by itself.
    corrected : array (shells,)
        The masked one with that taken off.
    randomised_from : int
        Radius in shells from which on phases were random; the number of shells if none were.
    """

    unmasked: Float[np.ndarray, " s"]
    masked: Float[np.ndarray, " s"]
    randomised: Float[np.ndarray, " s"]
    corrected: Float[np.ndarray, " s"]
    randomised_from: int


def randomise_phases(
    spectrum: Complex[Tensor, "n n h"], first: int, seed: int
) -> Complex[Tensor, "n n h"]:
    """Replace the phases at a radius of ``first`` or more by those of white noise.

    Noise that is real has the symmetry of a real map's phases, so the result is one too.
    """
    box = spectrum.shape[0]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(box, box, box, generator=generator).to(spectrum.device)
    random = spectrum.abs() * torch.sgn(to_half_fourier(noise))
    return torch.where(half_frequency_radius(box, spectrum.device) < first, spectrum, random)


def corrected_fsc(
    masked: Float[np.ndarray, " s"], randomised: Float[np.ndarray, " s"], first: int
) -> Float[np.ndarray, " s"]:
    """Masked FSC without the part that the mask makes.

    Parameters
    ----------
    masked, randomised : arrays (shells,)
    first : int
        Radius in shells from which on the phases were randomised.

    Notes
    -----
    Chen et al., Ultramicroscopy 135, 24 (2013), equation 4, from two shells after ``first`` on,
    as RELION does.
    """
    share = (masked - randomised) / np.maximum(1 - randomised, 1e-6)
    return np.where(np.arange(len(masked)) < first + _LEAKAGE, masked, share)


def half_map_curves(
    half1: Float[Tensor, "n n n"],
    half2: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    seed: int = 0,
) -> HalfMapCurves:
    """Fourier shell correlations of two half-maps within a mask.

    Parameters
    ----------
    half1, half2 : tensors (n, n, n)
        Made from independent halves of the particles.
    mask : tensor (n, n, n)
        From 0 to 1, soft.
    seed : int
        Of the random phases.
    """
    spectra = [to_half_fourier(half) for half in (half1, half2)]
    unmasked = fsc_of_spectra(*spectra).cpu().numpy()
    first = first_below(unmasked, _RANDOMISE_BELOW)

    def within_mask(halves: list[Tensor]) -> Float[np.ndarray, " s"]:
        curve = fsc_of_spectra(*(to_half_fourier(half * mask) for half in halves))
        return np.asarray(curve.cpu().numpy())

    masked = within_mask([half1, half2])
    randomised = within_mask(
        [
            from_half_fourier(randomise_phases(spectrum, first, 2 * seed + number))
            for number, spectrum in enumerate(spectra)
        ]
    )
    return HalfMapCurves(
        unmasked, masked, randomised, corrected_fsc(masked, randomised, first), first
    )
