"""The built-in molecule: domains of packed residues without symmetry, for demos and tests."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitreous.math.gaussians import gaussian_sum
from vitreous.math.symmetry import point_group

_DOMAINS = (
    # centre (x, y, z) and radius, angstrom
    ((0.0, 0.0, 0.0), 32.0),
    ((44.0, 10.0, -8.0), 22.0),
    ((-30.0, 38.0, 14.0), 19.0),
    ((-14.0, -34.0, 36.0), 16.0),
    ((20.0, -12.0, -46.0), 13.0),
    ((58.0, -22.0, 16.0), 10.0),
)
_RESIDUE_VOLUME, _CLOSEST, _RESIDUE_WIDTH = 150.0, 4.0, 2.6
"""Cubic angstrom a residue as in proteins; angstrom between residues; their Gaussians' width."""

_OFF_AXES, _SPREAD = (0.8, 0.35, 0.48), 18.0
"""Direction near no axis of a point group; angstrom from the centre of one mate alone."""


def _packed(rng: np.random.Generator, radius: float) -> np.ndarray:
    """Points at random in a ball, none too close to another, as dense as protein."""
    wanted = round(4 / 3 * np.pi * radius**3 / _RESIDUE_VOLUME)
    points = np.empty((0, 3))
    while len(points) < wanted:
        point = rng.uniform(-radius, radius, size=3)
        apart = np.linalg.norm(points - point, axis=1).min(initial=np.inf)
        if np.linalg.norm(point) < radius and apart > _CLOSEST:
            points = np.vstack([points, point])
    return points


def residues() -> Float[np.ndarray, "n 3"]:
    """Positions (x, y, z) in angstrom of the molecule's residues, about their centre."""
    rng = np.random.default_rng(20)
    parts = [np.array(centre) + _packed(rng, radius) for centre, radius in _DOMAINS]
    positions = np.concatenate(parts)
    return positions - positions.mean(axis=0)


def symmetric_residues(group: str) -> Float[np.ndarray, "n 3"]:
    """Positions (x, y, z) in angstrom of a lump of residues and its mates, on RELION's axes.

    About as many in all, and as large, as the built-in molecule; no more symmetric than ``group``.
    """
    operators, all_residues = point_group(group).numpy(), residues()
    inwards = np.linalg.norm(all_residues - all_residues[0], axis=1).argsort()
    lump = all_residues[inwards[: len(all_residues) // len(operators)]]
    lump = lump - lump.mean(axis=0) + np.cbrt(len(operators)) * _SPREAD * np.array(_OFF_AXES)
    return np.concatenate([lump @ operator.T for operator in operators])


def built_in_phantom(box: int, pixel_size: float) -> Float[Tensor, "n n n"]:
    """Density of the built-in molecule, about 150 A across, as (z, y, x).

    Its residues never change.  Gaussians narrower than a pixel would be undersampled, so they
    are at least that wide.
    """
    positions, width = residues(), max(_RESIDUE_WIDTH, 0.8 * pixel_size)
    return gaussian_sum(positions, np.ones(len(positions)), width, box, pixel_size)
