"""How evenly the particles' views sample Fourier space, and what tilting the grid would mend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.rotations import euler_to_matrix, view_direction
from vitreous.math.so3 import healpix_axes
from vitreous.math.symmetry import asymmetric_unit

_ORDER = 4
"""HEALPix order of the directions at which sampling is counted: 3,072, 3.7 degrees apart."""

_RADII = (5.0, 50.0)
"""Least and greatest Fourier radius, in thicknesses of a slice, at which it is counted."""

_PER_DIRECTION = 50.0
"""Slices that even views should put through a direction, lest chance look like unevenness."""

_VIEWS = 10_000
"""Particles that are counted at most, drawn at random."""

_ROWS = 1024
"""Views counted at a time."""

_NEAR = math.cos(math.radians(15))
"""Cosine of the angle within which directions are taken together."""

_GOLDEN_ANGLE = 180 * (3 - math.sqrt(5))
"""Degrees; its multiples are spread evenly over the circle wherever they end."""


@dataclass(frozen=True)
class Sampling:
    """Slices that pass through each direction of Fourier space.

    Attributes
    ----------
    axes : array (directions, 3)
        Unit vectors x, y, z over one asymmetric unit of the point group and the inversion.
    slices : array (directions,)
    """

    axes: Float[np.ndarray, "d 3"]
    slices: Float[np.ndarray, " d"]

    @property
    def empty(self) -> float:
        """Share of the directions that no slice passes through."""
        return float((self.slices == 0).mean())

    @property
    def emptiest(self) -> Float[np.ndarray, " 3"]:
        """Direction that the fewest slices pass near, within 15 degrees."""
        near = np.abs(self.axes @ self.axes.T) >= _NEAR
        axis: np.ndarray = self.axes[(near @ self.slices / near.sum(axis=1)).argmin()]
        return axis

    @property
    def score(self) -> float:
        """Sampling compensation factor: 1 for even views, 0.81 for side views only.

        What uneven views leave of the SSNR that even ones would give: the inverse of the mean of
        1 / slices.  Empty directions, which would make it 0, add half their share.

        Notes
        -----
        Baldwin & Lyumkis, Prog. Biophys. Mol. Biol. 150, 160 (2020); with empty directions it is
        the SCF* of the same authors, ibid. 160, 53 (2021).
        """
        filled = self.slices[self.slices > 0]
        reciprocal = np.mean(1 / filled) + self.empty / (1 - self.empty) / 2
        return float(1 / (self.slices.mean() * reciprocal))


def sampling(
    rot: Float[np.ndarray, " n"],
    tilt: Float[np.ndarray, " n"],
    operators: Float[Tensor, "s 3 3"],
    *,
    stage_tilt: float = 0.0,
    seed: int = 0,
) -> Sampling:
    """Count the slices through the directions of Fourier space.

    Parameters
    ----------
    rot, tilt : arrays (n,)
        Degrees.
    operators : tensor (s, 3, 3)
        Rotations of the point group.
    stage_tilt : float
        Degrees that every view is turned by about an axis in its image, at an in-plane angle of
        its own, as if the same particles were recorded on a tilted grid.
    seed : int
        Of the draw among many particles.
    """
    if len(rot) > _VIEWS:
        drawn = np.random.default_rng(seed).choice(len(rot), _VIEWS, replace=False)
        rot, tilt = rot[drawn], tilt[drawn]
    psi = np.arange(len(rot)) * _GOLDEN_ANGLE % 360
    images = euler_to_matrix(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (rot, tilt, psi)))
    angle = math.radians(stage_tilt)
    beam = torch.tensor([0.0, math.sin(angle), math.cos(angle)], dtype=images.dtype)
    views = (beam @ images).float()

    axes = healpix_axes(_ORDER)
    axes = axes[asymmetric_unit(axes, torch.cat([operators, -operators]))]
    mates = (operators @ axes.T).movedim(0, 1).flatten(1).float()  # 3, operators x directions
    total = len(views) * len(operators)
    radius = min(max(total / (2 * _PER_DIRECTION), _RADII[0]), _RADII[1])
    slices = torch.zeros(mates.shape[1])
    for rows in views.split(_ROWS):
        slices += ((rows @ mates).abs() < 0.5 / radius).sum(dim=0)
    return Sampling(axes.numpy(), slices.view(len(operators), -1).sum(dim=0).numpy())


def principal_view(
    rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"], operators: Float[Tensor, "s 3 3"]
) -> tuple[Float[np.ndarray, " 3"], float]:
    """Axis nearest to all views, and their mean squared cosine to it: 1/3 for even views."""
    views = view_direction(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (rot, tilt)))
    spread = operators @ (views.T @ views / len(views)) @ operators.transpose(1, 2)
    values, vectors = np.linalg.eigh(spread.mean(dim=0).numpy())
    return vectors[:, -1], float(values[-1])
