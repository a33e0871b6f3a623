"""What two half-maps share: unmasked, masked, and with the mask's own correlation taken off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.math.fourier import from_half_fourier, half_frequency_radius, to_half_fourier
from vitreous.validate.fsc import THRESHOLD, first_below, fsc_of_spectra

_RANDOMISE_BELOW = 0.8
"""Phases are randomised from the shell on where the unmasked FSC falls below this."""

_LEAKAGE = 2
"""Shells over which the mask spreads what was not randomised: not corrected."""

_MOST_BY_MASK = 0.95
"""FSC that a mask makes by itself beyond which it cannot be taken off a curve."""

_OUTLASTED, _SURE = 3, 2.0
"""Shells, and standard errors above the threshold of their mean, by which a curve outlasts the
beginning of random phases."""


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


class HalfMaps:
    """Two half-maps that are compared in one mask or several.

    Parameters
    ----------
    half1, half2 : tensors (n, n, n)
        Made from independent halves of the particles.
    seed : int
        Of the random phases.
    """

    def __init__(self, half1: Float[Tensor, "n n n"], half2: Float[Tensor, "n n n"], seed: int = 0):
        self._halves = (half1, half2)
        self._seed = seed
        self._spectra = [to_half_fourier(half) for half in self._halves]
        self.unmasked: Float[np.ndarray, " s"] = fsc_of_spectra(*self._spectra).cpu().numpy()

    @cached_property
    def _random(self) -> list[Float[Tensor, "n n n"]]:
        """Their phases random from where the unmasked curve falls."""
        return self._randomised(first_below(self.unmasked, _RANDOMISE_BELOW))

    def _randomised(self, first: int) -> list[Float[Tensor, "n n n"]]:
        return [
            from_half_fourier(randomise_phases(spectrum, first, 2 * self._seed + number))
            for number, spectrum in enumerate(self._spectra)
        ]

    def curves(self, mask: Float[Tensor, "n n n"], *, masked_before: bool = False) -> HalfMapCurves:
        """Fourier shell correlations within a mask.

        Parameters
        ----------
        mask : tensor (n, n, n)
            From 0 to 1, soft.
        masked_before : bool
            Whether the half-maps were masked before.  Their unmasked curve, from which it is read
            where phases are to become random, is then not unmasked: it holds what the earlier mask
            made.

        Notes
        -----
        Of masked half-maps phases are random from the finest shell on that the corrected curve
        still outlasts.  From a finer one it would end right where the correction begins, whatever
        was made by masks before; from a coarser one less of what they make would be taken off.
        """
        masked = _fsc_within(mask, self._halves)

        def with_random(random: Sequence[Tensor], first: int) -> HalfMapCurves:
            curve = _fsc_within(mask, random)
            corrected = corrected_fsc(masked, curve, first)
            return HalfMapCurves(self.unmasked, masked, curve, corrected, first)

        if masked_before:
            most = first_below(masked, _RANDOMISE_BELOW)
            return _outlasting(
                lambda first: with_random(self._randomised(first), first), most, float(mask.mean())
            )
        return with_random(self._random, first_below(self.unmasked, _RANDOMISE_BELOW))


def _fsc_within(
    mask: Float[Tensor, "n n n"], halves: Sequence[Float[Tensor, "n n n"]]
) -> Float[np.ndarray, " s"]:
    curve: np.ndarray = fsc_of_spectra(*(to_half_fourier(h * mask) for h in halves)).cpu().numpy()
    return curve


def half_map_curves(
    half1: Float[Tensor, "n n n"],
    half2: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    seed: int = 0,
    *,
    masked_before: bool = False,
) -> HalfMapCurves:
    """Fourier shell correlations of two half-maps within one mask: :class:`HalfMaps`."""
    return HalfMaps(half1, half2, seed).curves(mask, masked_before=masked_before)


def _outlasts(curves: HalfMapCurves, share: float) -> bool:
    """Whether the corrected curve goes on, by more than chance, where it begins to be corrected.

    A correlation c of N independent pairs has the standard error (1 - c^2) / sqrt(N). A shell of
    radius s has 2 pi s^2 pairs, of which a mask leaves its ``share`` of the box.
    """
    first = curves.randomised_from + _LEAKAGE
    shells = np.arange(first, min(first + _OUTLASTED, len(curves.masked)))
    if not len(shells):
        return False
    error = (1 - curves.masked[shells] ** 2) / np.sqrt(2 * np.pi * shells**2 * share)
    error = error / np.maximum(1 - curves.randomised[shells], 1e-6)
    mean, of_mean = curves.corrected[shells].mean(), error.mean() / np.sqrt(len(shells))
    return bool(mean >= THRESHOLD + _SURE * of_mean)


def _outlasting(
    randomised_at: Callable[[int], HalfMapCurves], most: int, share: float
) -> HalfMapCurves:
    """Curves with phases random from the finest shell on, ``most`` at most, that they outlast.

    Without such a shell, or where it ends by what the mask makes, which leaves nothing to correct,
    nothing can be judged: the corrected curve is 0.
    """
    least, found = 1, randomised_at(1)
    while most - least > 1:
        middle = (least + most) // 2
        curves = randomised_at(middle)
        if _outlasts(curves, share):
            least, found = middle, curves
        else:
            most = middle
    fall = min(first_below(found.corrected, THRESHOLD), len(found.masked) - 1)
    if least > 1 and found.randomised[fall] <= _MOST_BY_MASK:
        return found
    return replace(found, corrected=np.where(np.arange(len(found.masked)) > 0, 0.0, 1.0))
