"""Where no particle is: carbon, edges and aggregates, told by their contrast and their size; ice,
told by scores that no particle has."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import binary_dilation, find_objects, gaussian_filter, label, uniform_filter

from vitreous.preprocessing.picking.peaks import Peaks, first_near
from vitreous.preprocessing.picking.prepared import Prepared, robust_spread

_CONTRAST = 1.6
"""Local contrast over the usual one, or the other way round."""

_BRIGHTNESS = 6.0
"""Robust standard deviations of the local mean."""

_POCKET = 0.1
"""Size of a part over the largest one's, below which it is a pocket of something else."""

_LONG = 4.0
"""Diameters of a particle that such an area has to be long: single particles may be strong."""

_BEST, _FEWEST_BEST = 0.25, 10
"""Share of the candidates that are taken for particles, and how many at least."""

_STRONG, _LEAST_SPREAD = 4.0, 0.15
"""Robust standard deviations beyond the median score of these that no particle reaches, and the
least that one is over the median."""

_WEAK = 0.3
"""Of that median, which every particle reaches."""


def _large(area: Bool[np.ndarray, "h w"], least: float) -> Bool[np.ndarray, "h w"]:
    """Connected parts that are at least so many pixels long."""
    parts, _ = label(area)
    long = [
        number
        for number, part in enumerate(find_objects(parts), 1)
        if max(line.stop - line.start for line in part) >= least
    ]
    return np.isin(parts, long)


def _without_pockets(area: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The area without parts that are small beside the largest, as beyond a carbon edge."""
    parts, _ = label(area)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return area & (sizes[parts] >= _POCKET * sizes.max())


def clean_area(prepared: Prepared, diameter: float, border: float) -> Bool[np.ndarray, "h w"]:
    """Places where a particle may lie.

    Parameters
    ----------
    prepared : Prepared
    diameter : float
        Of particles, pixels.
    border : float
        Pixels along the micrograph's border that are left out.
    """
    contrast = np.sqrt(uniform_filter(prepared.image**2, max(3, round(diameter))))
    ratio = contrast / float(np.median(contrast))
    mean = gaussian_filter(prepared.slow, diameter / 2)
    off = np.abs(mean - np.median(mean)) / max(robust_spread(mean), 1e-30)
    strange = (ratio > _CONTRAST) | (ratio < 1 / _CONTRAST) | (off > _BRIGHTNESS)
    strange = _large(strange, _LONG * diameter)
    strange = binary_dilation(strange, iterations=max(1, round(diameter / 2)))
    allowed = np.zeros(strange.shape, dtype=bool)
    margin = max(1, round(border))
    allowed[margin:-margin, margin:-margin] = True
    return _without_pockets(allowed & ~strange)


def particle_scores(picks: Peaks) -> tuple[float, float]:
    """Least and highest score that a particle may have, by those of the best candidates.

    Noise finds no decoys beside it where particles leave little room, but scores far below them.
    """
    best = picks.scores[: max(_FEWEST_BEST, round(_BEST * len(picks)))]
    if not len(best):
        return -np.inf, np.inf
    middle = float(np.median(best))
    return _WEAK * middle, middle + _STRONG * max(robust_spread(best), _LEAST_SPREAD * middle)


def too_strong(
    picks: Peaks, decoys: Peaks, shape: tuple[int, int], diameter: float
) -> Bool[np.ndarray, "h w"]:
    """Places within a particle's diameter of what scores far above particles, in either contrast.

    Ice and other contaminants that are not large; their rims would be decoys without end.
    """
    _, most = particle_scores(picks)
    strong = [found.take(found.scores > most) for found in (picks, decoys)]
    near = [np.isfinite(first_near(some, shape, diameter)) for some in strong]
    return np.asarray(near[0] | near[1])
