"""Poses between the points of any lattice: Gauss-Newton steps on slices and their derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.engine.maps import PADDING
from vitreous.imaging.project import (
    FourierCube,
    empty_cube,
    map_to_cube,
    shift_phase,
    transform_into,
)
from vitreous.math.rotations import turn_by
from vitreous.ops.cubes import read_planes

_MOMENTS_PADDING = 1
"""Oversampling of the derivatives: they are off by a tenth then, and right on the average."""

_DAMPING, _EASED, _RAISED = 1e-2, 0.1, 10.0
"""First Levenberg-Marquardt damping, and its factors after a step that helped or did not."""


@dataclass(frozen=True)
class Fit:
    """How well poses fit, and how the fit changes with them.

    Attributes
    ----------
    cost : tensor (images,)
        Negative log-likelihood.
    negative_gradient : tensor (images, 5)
        Its negative gradient: turn about the image's x, y, z (radians), shift along x, y (pixels).
    curvature : tensor (images, 5, 5)
        Gauss-Newton's approximation of its second derivatives.
    """

    cost: Float[Tensor, " n"]
    negative_gradient: Float[Tensor, "n 5"]
    curvature: Float[Tensor, "n 5 5"]

    def chosen(self, better: Tensor, other: Fit) -> Fit:
        """The other's values of the images where it is better."""
        return Fit(
            torch.where(better, other.cost, self.cost),
            torch.where(better[:, None], other.negative_gradient, self.negative_gradient),
            torch.where(better[:, None, None], other.curvature, self.curvature),
        )


@dataclass(frozen=True)
class DifferentiableMap:
    """Transform of a map, and those of its first moments, which are its derivatives.

    Attributes
    ----------
    plain : FourierCube
        Of the map.
    moments : FourierCube
        Of the map times x, y and z, with fewer voxels: derivatives only say which way to go.
    """

    plain: FourierCube
    moments: FourierCube


def differentiable(
    volume: Float[Tensor, "n n n"],
    radius: float,
    padding: int = PADDING,
    moments_padding: int = _MOMENTS_PADDING,
) -> DifferentiableMap:
    """A map whose slices, and their derivatives, can be read out to ``radius`` steps of 1 / box."""
    axis = torch.arange(volume.shape[-1], device=volume.device, dtype=volume.dtype)
    axis = axis - volume.shape[-1] // 2
    moments = empty_cube(3, volume, radius, moments_padding)
    for own, along in zip(moments.data, (axis, axis[:, None], axis[:, None, None]), strict=True):
        transform_into(own, volume * along, moments_padding)
    return DifferentiableMap(map_to_cube(volume[None], radius, padding), moments)


def slices_and_derivatives(
    reference: DifferentiableMap,
    points: Float[Tensor, "m 2"],
    matrices: Float[Tensor, "n 3 3"],
    box: int,
) -> tuple[Complex[Tensor, "n m"], Complex[Tensor, "n 3 m"]]:
    """Slices, and their derivatives with turns about the image's x, y and z in radians.

    Parameters
    ----------
    reference : DifferentiableMap
    points : tensor (samples, 2)
        Frequencies in steps of 1 / box.
    matrices : tensor (images, 3, 3)
        Volume to image frame.

    Notes
    -----
    A turn w put before A moves the point A^T k by -A^T (w x k), so the slice changes by
    -w . (k x A g), g the gradient of the transform: that of the moments, times -2 pi i / box.
    """
    slices = read_planes(reference.plain, points, matrices)[0]
    gradient = read_planes(reference.moments, points, matrices)
    turned = matrices.to(gradient.real).to(gradient.dtype)
    gx, gy, gz = torch.einsum("nij,jnm->inm", turned, gradient) * (-2j * math.pi / box)
    x, y = points.unbind(-1)
    return slices, torch.stack([-y * gz, x * gz, y * gx - x * gy], dim=1)


def fit(
    reference: DifferentiableMap,
    points: Float[Tensor, "m 2"],
    precision: Float[Tensor, " m"],
    images: Complex[Tensor, "n m"],
    ctf: Float[Tensor, "n m"],
    matrices: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    box: int,
) -> Fit:
    """Negative log-likelihood of images at these poses, its gradient and curvature.

    Parameters are those of :func:`gauss_newton`; ``shifts`` move the images (pixels).
    """
    plain, turning = slices_and_derivatives(reference, points, matrices, box)
    seen = ctf * shift_phase(points, -shifts, box)
    model = plain * seen
    shifting = model[:, None] * (points.T * (2j * math.pi / box))
    slopes = torch.cat([turning * seen[:, None], shifting], dim=1)
    rest = images - model
    weighed = torch.view_as_real(slopes * precision).flatten(2)
    cost = (rest.abs() ** 2 * precision).sum(dim=1) / 2
    negative_gradient = (weighed @ torch.view_as_real(rest).flatten(1)[..., None])[..., 0]
    return Fit(
        cost, negative_gradient, weighed @ torch.view_as_real(slopes).flatten(2).transpose(1, 2)
    )


def _stepped(state: Fit, damping: Float[Tensor, " n"]) -> Float[Tensor, "n 5"]:
    """Levenberg-Marquardt step."""
    diagonal = state.curvature.diagonal(dim1=1, dim2=2)
    floor = 1e-6 * diagonal.amax(dim=1, keepdim=True) + 1e-20
    damped = state.curvature + torch.diag_embed(diagonal * damping[:, None] + floor)
    return torch.linalg.solve(damped.double(), state.negative_gradient.double())


def gauss_newton(
    reference: DifferentiableMap,
    points: Float[Tensor, "m 2"],
    precision: Float[Tensor, " m"],
    images: Complex[Tensor, "n m"],
    ctf: Float[Tensor, "n m"],
    matrices: Float[Tensor, "n 3 3"],
    box: int,
    steps: int = 3,
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 2"]]:
    """Poses of greatest likelihood near those given.

    Parameters
    ----------
    reference : DifferentiableMap
    points : tensor (samples, 2)
        Frequencies of the half-plane, in steps of 1 / box.
    precision : tensor (samples,)
        Area of the whole Fourier plane that a sample stands for, over the noise's expected power.
    images : complex tensor (images, samples)
        Already moved to their present origins.
    ctf : tensor (images, samples)
    matrices : tensor (images, 3, 3)
        Present orientations, float64.
    steps : int
        Tried; one that does not raise the likelihood is taken back, and the next is shorter.

    Returns
    -------
    matrices : tensor (images, 3, 3)
    shifts : tensor (images, 2)
        Beside the present ones, pixels.

    Notes
    -----
    Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963).
    """
    shifts = torch.zeros(len(images), 2, device=images.device)
    damping = torch.full((len(images),), _DAMPING, device=images.device)

    def fitted(matrices: Tensor, shifts: Tensor) -> Fit:
        return fit(reference, points, precision, images, ctf, matrices, shifts, box)

    state = fitted(matrices, shifts)
    for _ in range(steps):
        step = _stepped(state, damping)
        turned, moved = turn_by(step[:, :3]) @ matrices.to(step), shifts + step[:, 3:].float()
        found = fitted(turned, moved)
        better = found.cost < state.cost
        state = state.chosen(better, found)
        matrices = torch.where(better[:, None, None], turned, matrices)
        shifts = torch.where(better[:, None], moved, shifts)
        damping = damping * torch.where(better, _EASED, _RAISED)
    return matrices, shifts
