"""The built-in molecule: a folded chain without symmetry, for demonstrations and tests."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitreous.math.gaussians import gaussian_sum

_DOMAINS = (
    # centre (x, y, z) and radius in angstrom, residues
    ((0.0, 0.0, 0.0), 34.0, 260),
    ((44.0, 10.0, -8.0), 24.0, 130),
    ((-30.0, 38.0, 14.0), 20.0, 90),
    ((-14.0, -34.0, 36.0), 16.0, 60),
    ((20.0, -12.0, -46.0), 13.0, 40),
    ((58.0, -22.0, 16.0), 9.0, 20),
)
_BOND, _RESIDUE_WIDTH = 3.8, 2.6


def _chain(rng: np.random.Generator, radius: float, residues: int) -> np.ndarray:
    """Positions of a compact random walk that turns back at the domain's surface."""
    points = [np.zeros(3)]
    direction = rng.normal(size=3)
    for _ in range(residues - 1):
        direction = 0.6 * direction + 0.8 * rng.normal(size=3) - 0.04 * points[-1]
        direction /= np.linalg.norm(direction)
        step = points[-1] + _BOND * direction
        points.append(step if np.linalg.norm(step) < radius else points[-1] * 0.9)
    return np.array(points)


def residues() -> Float[np.ndarray, "n 3"]:
    """Positions (x, y, z) in angstrom of the molecule's residues, about their centre."""
    rng = np.random.default_rng(20)
    parts = [np.array(centre) + _chain(rng, radius, n) for centre, radius, n in _DOMAINS]
    positions = np.concatenate(parts)
    return positions - positions.mean(axis=0)


def built_in_phantom(box: int, pixel_size: float) -> Float[Tensor, "n n n"]:
    """Density of the built-in molecule, about 150 A across, as (z, y, x).

    Its residues never change.  Gaussians narrower than a pixel would be undersampled, so they
    are at least that wide.
    """
    positions, width = residues(), max(_RESIDUE_WIDTH, 0.8 * pixel_size)
    return gaussian_sum(positions, np.ones(len(positions)), width, box, pixel_size)
