"""Scales between a map's projections and images, to subtract the one from the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from vitreous.math.fourier import frequency_radius, to_fourier

_INNERMOST = 2
"""Shells left out at the centre: normalisation and uneven ice have changed the images there."""


@dataclass(frozen=True)
class Match:
    """How well images match their projections, over the frequencies of a band.

    Attributes
    ----------
    product : array (particles,)
        Sum of the real part of image times conjugate projection.
    power : array (particles,)
        Sum of the projection's power.
    noise : array (particles,)
        Mean power of the image less the projection that fits it best.
    """

    product: Float[np.ndarray, " n"]
    power: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, " n"]


def fitting_radius(box: int, pixel_size: float, resolution: float) -> float:
    """Outermost frequency that scales are fitted on, in steps of 1 / box."""
    return max(min(box * pixel_size / resolution, box // 2 - 2), _INNERMOST)


def fitting_band(box: int, pixel_size: float, resolution: float) -> Bool[Tensor, "n n"]:
    """Frequencies that scales are fitted on, down to ``resolution`` (angstrom)."""
    radius = frequency_radius(box, 2)
    return (radius >= _INNERMOST) & (radius <= fitting_radius(box, pixel_size, resolution))


def match(
    images: Float[Tensor, "m n n"], projections: Float[Tensor, "m n n"], band: Bool[Tensor, "n n"]
) -> Match:
    """Compare images with their projections over the frequencies of ``band``."""
    image, model = (to_fourier(real, 2)[:, band] for real in (images, projections))
    product = (image * model.conj()).real.sum(dim=1).double()
    power = model.abs().square().sum(dim=1).double().clamp(min=1e-30)
    rest = image.abs().square().sum(dim=1).double() - product**2 / power
    return Match(*(t.cpu().numpy() for t in (product, power, rest / image.shape[1])))


def joined(matches: list[Match]) -> Match:
    """Those of several batches as one."""
    columns = ([getattr(m, name) for m in matches] for name in ("product", "power", "noise"))
    return Match(*map(np.concatenate, columns))


def common_scale(found: Match) -> tuple[float, float]:
    """Least-squares scale that all projections share, and its standard error."""
    power = found.power.sum()
    return float(found.product.sum() / power), float(
        np.sqrt((found.noise * found.power).sum()) / power
    )


def particle_scales(found: Match) -> Float[np.ndarray, " n"]:
    """Scale of each projection, drawn towards the common one as far as the scatter is noise.

    Notes
    -----
    Efron & Morris, J. Am. Stat. Assoc. 70, 311 (1975): the variance among the particles is that
    of their least-squares scales less what the noise in their images accounts for.
    """
    mean, _ = common_scale(found)
    own, error2 = found.product / found.power, found.noise / found.power
    # Weighted by power, so that the images that tell little do not set the variance.
    weight = found.power / found.power.sum()
    among = max(float((weight * ((own - mean) ** 2 - error2)).sum()), 0.0)
    return np.asarray(mean + (own - mean) * among / (among + error2))
