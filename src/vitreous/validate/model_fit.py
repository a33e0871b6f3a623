"""A model's density laid on a map as a rigid body, from where it is or from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.math.fourier import to_half_fourier
from vitreous.ops.cubes import read
from vitreous.ops.threads import one_thread
from vitreous.validate.truth import align

_COARSE = 25.0
"""Angstrom that every fit begins at: its peak is wide."""

_MOST = 40_000
"""Fourier coefficients compared at once; of more, so many are drawn."""

_STEP = 0.25
"""First step of a search, as a share of the resolution, at the model's rim."""

_PRECISE = 1e-3
"""Share of the resolution at which it ends."""


@dataclass(frozen=True)
class Placement:
    """Where a density goes: x becomes ``matrix @ x + shift`` about the box centre.

    Attributes
    ----------
    matrix : float64 array (3, 3)
    shift : float64 array (3,)
        x, y, z, angstrom.
    """

    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class RigidFit:
    """A placement, and how well it fits.

    Attributes
    ----------
    placement : Placement
    correlation : float
        Of the two transforms out to the resolution of the fit.
    """

    placement: Placement
    correlation: float


@dataclass(frozen=True)
class _Target:
    """Coefficients of the map that a model is laid on, and the model's own transform."""

    points: Float[Tensor, "p 3"]
    values: Tensor
    cube: FourierCube
    width: float

    def correlation(self, placement: Placement) -> float:
        """Of the map and the model placed."""
        turned = self.points @ torch.from_numpy(placement.matrix).to(self.points)
        values = read(self.cube, turned)[0]
        offset = torch.from_numpy(placement.shift / self.width).to(self.points)
        phase = (self.points @ offset) * (-2 * math.pi)
        values = values * torch.polar(torch.ones_like(phase), phase)
        norm = values.abs().square().sum() * self.values.abs().square().sum()
        return float((values.conj() * self.values).real.sum() / norm.sqrt().clamp(min=1e-30))


def _target(
    model: Float[Tensor, "n n n"],
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    resolution: float,
) -> _Target:
    box = volume.shape[-1]
    radius = min(box * pixel_size / resolution, box // 2 - 1)
    axis = torch.fft.fftfreq(box, 1 / box)
    z, y, x = torch.meshgrid(axis, axis, torch.fft.rfftfreq(box, 1 / box), indexing="ij")
    norm = (x**2 + y**2 + z**2).sqrt()
    chosen = ((norm <= radius) & (norm > 0)).nonzero()
    if len(chosen) > _MOST:
        drawn = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))
        chosen = chosen[drawn[:_MOST]]
    k, j, i = chosen.unbind(1)
    points = torch.stack([i.float(), axis[j], axis[k]], dim=1).to(volume)
    # Both count from the corner: the map's centre is brought there by a sign.
    centre = points.sum(dim=1) * (2 * math.pi * (box // 2) / box)
    values = to_half_fourier(volume)[k, j, i] * torch.polar(torch.ones_like(centre), centre)
    cube = map_to_cube(model[None], math.floor(radius) + 1)
    return _Target(points, values, cube, box * pixel_size)


def _refined(target: _Target, start: Placement, rim: float, resolution: float) -> RigidFit:
    """The nearest maximum; rotations are measured by what they move the model's ``rim``."""

    def moved(parameters: np.ndarray) -> Placement:
        turn = Rotation.from_rotvec(parameters[:3] / rim).as_matrix()
        return Placement(turn @ start.matrix, start.shift + parameters[3:])

    def loss(parameters: np.ndarray) -> float:
        return -target.correlation(moved(parameters))

    simplex = np.vstack([np.zeros(6), np.eye(6) * _STEP * resolution])
    best = minimize(
        loss,
        np.zeros(6),
        method="Nelder-Mead",
        options={
            "initial_simplex": simplex,
            "xatol": _PRECISE * resolution,
            "fatol": 1e-7,
            "maxiter": 600,
        },
    )
    return RigidFit(moved(best.x), -float(best.fun))


@one_thread()
def fit_rigidly(
    model: Float[Tensor, "n n n"],
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    *,
    resolution: float,
    starts: Sequence[Placement] = (),
    anywhere: bool = True,
) -> RigidFit:
    """Rigid-body fit of a model's density to a map; no hand but the model's own is tried.

    Each start is refined at 25 A, then at finer resolutions; the one that correlates best is kept.

    Parameters
    ----------
    model, volume : tensors (n, n, n)
        On one grid and device, the model about the box centre.
    pixel_size : float
        Angstrom.
    resolution : float
        Finest detail looked at, angstrom.
    starts : sequence of Placement
        Where the model may be already; what lies outside the box is left out if there is a search,
        as transforms cannot tell it from its image inside.
    anywhere : bool
        Search all rotations and shifts as well.
    """
    begun = list(starts)
    if anywhere:
        reach = volume.shape[-1] / 2 * pixel_size
        begun = [start for start in starts if np.abs(start.shift).max() < reach]
        found = align(model, volume, pixel_size, hands=(False,))
        begun.append(Placement(found.matrix, found.shift * pixel_size))
    inside = (model > 0.1 * model.max()).nonzero() - model.shape[-1] // 2
    rim = max(float(inside.float().norm(dim=1).mean()), 1.0) * pixel_size
    coarse = max(_COARSE, resolution)
    fits = [RigidFit(start, 0.0) for start in begun]
    for step in dict.fromkeys((coarse, math.sqrt(coarse * resolution), resolution)):
        target = _target(model, volume, pixel_size, step)
        fits = [_refined(target, fit.placement, rim, step) for fit in fits]
    return max(fits, key=lambda fit: fit.correlation)


def correlation_at(
    model: Float[Tensor, "n n n"],
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    resolution: float,
    placement: Placement,
) -> float:
    """Correlation that :func:`fit_rigidly` would give a placement."""
    return _target(model, volume, pixel_size, resolution).correlation(placement)
