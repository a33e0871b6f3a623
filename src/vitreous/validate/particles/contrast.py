"""Whether the particles are brighter or darker than what is round them."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from vitreous.validate.particles.spectra import ImageSpectra

SEEN = 5.0
"""Standard errors of the mean density that particles reach, and noise alone does not."""

_INNERMOST = 1.5
"""Radius, in steps of 1 / field, up to which the spectrum of whatever fits the box is positive."""


def standard_score(values: Float[Tensor, " n"]) -> float:
    """Mean of independent values in standard errors."""
    wide = values.double()
    error = wide.std() / math.sqrt(len(wide))
    return float(wide.mean() / error.clamp(min=1e-30))


def spectra_contrast(spectra: ImageSpectra) -> float:
    """Mean density of the particles in standard errors: positive for white particles.

    The spectrum of a density without negative parts, turned every way, is positive up to
    1 / diameter however it is distributed: the least favourable, a thin shell, has
    sin(x) / x, x = pi k diameter.  Only the innermost frequencies are taken, where that holds for
    all particles narrower than two thirds of the box.
    """
    near = spectra.within(_INNERMOST)
    return standard_score((near.samples.real * near.transfer).sum(dim=1))
