"""The particle's diameter from images in unknown orientations.

The average of all images, radially averaged, is the projection of the particle turned every way
(:func:`vitreous.validate.particles.spectra.radial_spectrum`).  It is explained by spherical shells
inside a ball, and outside it by flat rings, which stand for the neighbours in the layer of ice;
neither may be negative, and that settles the density at zero frequency, which the CTF has taken
away.  The ball is widened until the density inside it stops growing with it: there the particle
ends, be it at the solvent or at the gap before its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls
from scipy.special import chndtr, j0

from vitreous.validate.particles.spectra import ImageSpectra, RadialSpectrum, radial_spectrum

_STEPS = 64
"""Shells that the width looked at is divided into."""

_BLUR = 1.5
"""Standard deviation, in steps, of the Gaussian that each shell is blurred by."""

_RINGS = 13
"""Frequencies used, in steps of 1 / width."""

_WIDE = 3.0
"""A box wider than this many diameters is looked at again, no wider than that."""

_MODEL_ERROR = 0.01
"""Error allowed for beside the noise, as a part of the greatest value: CTFs are not exact."""

_CORNER = 0.7
"""Reach of the rings in fields of view: half the box's diagonal."""

_HELD = 0.98
"""Share of the particle's density inside the diameter: more lets noise far out count."""

_STEADY, _GROWTH = 1.15, 1.03
"""A ball holds the particle if widening it 1.15-fold widens the particle less than 1.03-fold."""

_SEEN = 0.1
"""Least share of all density in a ball that may hold the particle: less is the hole of a ring."""

_DISAGREE = 1.3
"""Ratio of the estimates from all images and from halves of them beyond which none is given."""

_MASK = 1.15
"""Mask over diameter: room for what lies beyond the diameter and for particles off the centre."""


@dataclass(frozen=True)
class _Explained:
    """Density inside a ball: radii and weights of its shells, and their share of all density."""

    radii: Float[np.ndarray, " s"]
    weights: Float[np.ndarray, " s"]
    blur: float
    share: float

    def diameter(self) -> float:
        """Diameter that holds most of the density."""
        reach = np.linspace(0, self.radii[-1] + 4 * self.blur, 256)
        # Squared distance from the centre of a point blurred off a shell: noncentral chi-square.
        inside = chndtr((reach[:, None] / self.blur) ** 2, 3, (self.radii / self.blur) ** 2)
        held = inside @ self.weights / self.weights.sum()
        return 2 * float(np.interp(_HELD, held, reach))


def _explain(
    spectrum: RadialSpectrum, value: Float[np.ndarray, " r"], radius: float, step: float
) -> _Explained:
    """Non-negative shells inside ``radius`` and rings outside it for a spectrum.

    Shells have the transform sin(x) / x and rings J0(x), x = 2 pi k r; lengths are in fields.
    """
    k = spectrum.frequency.numpy()[:, None]
    error = np.hypot(spectrum.error.numpy(), _MODEL_ERROR * np.abs(value).max())
    shells = np.arange(0.5 * step, radius, step)
    rings = np.arange(radius + 0.5 * step, _CORNER, step)
    basis = np.hstack([np.sinc(2 * k * shells), j0(2 * np.pi * k * rings)])
    basis = basis * np.exp(-2 * (np.pi * k * _BLUR * step) ** 2)
    weights, _ = nnls(basis / error[:, None], value / error)
    inside = weights[: len(shells)]
    share = float(inside.sum() / max(weights.sum(), 1e-30))
    return _Explained(shells, inside, _BLUR * step, share)


def _diameter_within(spectra: ImageSpectra, sign: int, width: float) -> float | None:
    """Diameter of a particle no wider than ``width``, both in fields."""
    spectrum = radial_spectrum(spectra, _RINGS / width)
    value = spectrum.value.numpy() * sign
    step = width / _STEPS
    balls = np.arange(4, _STEPS // 2 + 1) * step
    explained = [_explain(spectrum, value, radius, step) for radius in balls]
    found = [
        (radius, density.diameter())
        for radius, density in zip(balls, explained, strict=True)
        if density.share >= _SEEN
    ]
    for number, (radius, diameter) in enumerate(found):
        wider = [other for ball, other in found[number:] if ball <= _STEADY * radius]
        if diameter < 2 * radius and max(wider) <= _GROWTH * diameter:
            return diameter
    return min(found[-1][1], width) if found else None


def _diameter(spectra: ImageSpectra, sign: int) -> float | None:
    found = _diameter_within(spectra, sign, 1.0)
    if found is not None and _WIDE * found < 1:
        found = _diameter_within(spectra, sign, _WIDE * found)
    return found


def estimated_diameter(spectra: ImageSpectra, contrast: float = 1.0) -> float | None:
    """Diameter in angstrom of the particle, shifts from the box centre included.

    Parameters
    ----------
    spectra : ImageSpectra
        Of at least some hundred images.
    contrast : float
        Negative if the particles are dark.

    Returns
    -------
    diameter : float or None
        The field of view, or nearly, where the particle fills it; None if no density is found, or
        if the halves of the images do not bear each other out.
    """
    sign = 1 if contrast >= 0 else -1
    parts = (slice(None), slice(0, None, 2), slice(1, None, 2))
    found = [_diameter(spectra.some(part), sign) for part in parts]
    known = [diameter for diameter in found if diameter is not None]
    if len(known) < len(found) or max(known) > _DISAGREE * min(known):
        return None
    return known[0] * spectra.field


def mask_for(diameter: float, field: float) -> float:
    """Mask diameter in angstrom for a particle: somewhat wider, at most the field of view."""
    return float(round(min(_MASK * diameter, field)))
