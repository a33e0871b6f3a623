"""Rotations and shifts of a map brought to where it fits another best, several at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from vitreous.imaging.project import FourierCube
from vitreous.math.rotations import turn_by
from vitreous.ops.cubes import read

_MOST_STEPS = 30

_DAMPING, _FACTOR = 1e-3, 10.0
"""Part of the normal equations' diagonal that is added to it at first, and what a step that fits
better divides it by; any other multiplies it."""

_NEAR = 0.25
"""Frequency steps that the outermost point moves by for the slope with rotation: less would see the
kinks of trilinear interpolation."""


@dataclass(frozen=True)
class RigidBodies:
    """Ways to lay a map on another.

    Attributes
    ----------
    matrices : float64 tensor (bodies, 3, 3)
        On the processor, as the shifts.  They carry points (x, y, z) of the map to the other's
        frame.
    shifts : float64 tensor (bodies, 3)
        Then added, box widths (x, y, z).
    """

    matrices: Float[Tensor, "c 3 3"]
    shifts: Float[Tensor, "c 3"]

    def only(self, number: int) -> RigidBodies:
        """One of them."""
        return RigidBodies(self.matrices[number, None], self.shifts[number, None])

    def moved(self, steps: Float[Tensor, "c 6"]) -> RigidBodies:
        """Turned further by rotation vectors (radians), and shifted further."""
        turns = turn_by(steps[:, :3])
        return RigidBodies(turns @ self.matrices, self.shifts + steps[:, 3:])


@dataclass(frozen=True)
class _Fit:
    """How well bodies fit, and the normal equations of the next step."""

    bodies: RigidBodies
    correlation: Float[Tensor, " c"]
    normal: Float[Tensor, "c 6 6"]
    slope: Float[Tensor, "c 6"]

    def steps(self, damping: Float[Tensor, " c"]) -> Float[Tensor, "c 6"]:
        """The next step of each, damped."""
        diagonal = self.normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12)
        damped = self.normal + torch.diag_embed(damping[:, None] * diagonal)
        return torch.linalg.solve(damped, self.slope)

    def updated(self, better: Bool[Tensor, " c"], other: _Fit) -> _Fit:
        """With what another has of those that are better there."""

        def of(own: Tensor, others: Tensor) -> Tensor:
            return torch.where(better.view(-1, *[1] * (own.ndim - 1)), others, own)

        matrices = of(self.bodies.matrices, other.bodies.matrices)
        return _Fit(
            RigidBodies(matrices, of(self.bodies.shifts, other.bodies.shifts)),
            of(self.correlation, other.correlation),
            of(self.normal, other.normal),
            of(self.slope, other.slope),
        )


def turned_values(
    cube: FourierCube, points: Float[Tensor, "p 3"], matrices: Float[Tensor, "m 3 3"]
) -> Complex[Tensor, "m p"]:
    """Transforms of a map turned by these matrices, at some frequencies."""
    places = torch.einsum("pi,nij->npj", points, matrices.to(points))
    return read(cube, places.reshape(-1, 3))[0].view(len(matrices), -1)


def _fitted(
    cube: FourierCube,
    target: Float[Tensor, " pp"],
    points: Float[Tensor, "p 3"],
    root: Float[Tensor, " p"],
    bodies: RigidBodies,
) -> _Fit:
    """Correlation of a map in some places with a target of norm 1, and the normal equations."""
    angle = _NEAR / float(points.norm(dim=1).max())
    turns = turn_by(angle * torch.eye(3, dtype=torch.float64))
    near = torch.cat([turns, turns.transpose(1, 2), torch.eye(3, dtype=torch.float64)[None]])
    matrices = (near @ bodies.matrices[:, None]).flatten(0, 1)
    phase = -2 * math.pi * (bodies.shifts.to(points) @ points.T)
    values = turned_values(cube, points, matrices).view(len(phase), len(near), -1)
    values = values * (root * torch.polar(torch.ones_like(phase), phase))[:, None]
    here = values[:, -1]
    turning = (values[:, :3] - values[:, 3:6]) / (2 * angle)
    shifting = -2j * math.pi * points.T * here[:, None]
    slopes = torch.view_as_real(torch.cat([turning, shifting], dim=1)).flatten(2)

    # The contrast is fitted too: what a step adds along the map itself counts for nothing.
    own = torch.view_as_real(here.contiguous()).flatten(1)
    power = own.square().sum(dim=1).clamp(min=1e-30)
    along = own @ target
    slopes = slopes - (slopes @ own[:, :, None] / power[:, None, None]) * own[:, None]
    contrast = (along / power)[:, None]
    normal = contrast[:, :, None] ** 2 * (slopes @ slopes.transpose(1, 2))
    # Six numbers a body are no work for a device, and some have no double precision.
    found = (along / power.sqrt(), normal, contrast * (slopes @ target))
    return _Fit(bodies, *(part.cpu().double() for part in found))


def refine_rigid_bodies(
    cube: FourierCube,
    target: Complex[Tensor, " p"],
    points: Float[Tensor, "p 3"],
    bodies: RigidBodies,
    tolerance: float,
    weights: Float[Tensor, " p"] | None = None,
) -> tuple[RigidBodies, Float[Tensor, " c"]]:
    """The nearest places of greatest correlation, and the correlation there.

    Parameters
    ----------
    cube : FourierCube
        Of the map that is laid.
    target : tensor (points,)
        The other's transform.
    points : tensor (points, 3)
        Frequencies (x, y, z), in steps of 1 / box.
    tolerance : float
        Step in radians, and in box widths, below which nothing is moved further.
    weights : tensor (points,), optional
        Of the products of the two transforms; 1 by default.

    Notes
    -----
    Damped Gauss-Newton steps (Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963)) of the least
    squares between the transforms, from which the contrast is eliminated (variable projection:
    Golub & Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)).
    """
    root = torch.ones_like(points[:, 0]) if weights is None else weights.sqrt()
    aim = torch.view_as_real(root * target).flatten()
    aim = aim / aim.norm().clamp(min=1e-30)
    fit = _fitted(cube, aim, points, root, bodies)
    damping = torch.full_like(fit.correlation, _DAMPING)
    for _ in range(_MOST_STEPS):
        steps = fit.steps(damping)
        if float(steps.abs().max()) < tolerance:
            break
        other = _fitted(cube, aim, points, root, fit.bodies.moved(steps))
        better = other.correlation > fit.correlation
        fit = fit.updated(better, other)
        damping = torch.where(better, damping / _FACTOR, damping * _FACTOR)
    return fit.bodies, fit.correlation
