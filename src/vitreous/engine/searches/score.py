"""How well an orientation and a shift explain an image: the readable reference.

The fast twin is :mod:`vitreous.ops.angular`; a test holds the two equal.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.polar import PolarGrid
from vitreous.imaging.project import FourierCube, read_cube, shift_phase
from vitreous.math.rotations import axis_rotation
from vitreous.math.so3 import OrientationGrid


def reference_log_likelihood(
    cube: FourierCube,
    orientations: OrientationGrid,
    polar: PolarGrid,
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    noise: Float[Tensor, " rings"],
    shifts: Float[Tensor, "t 2"],
    box: int,
) -> Float[Tensor, "psi kd n t"]:
    """Log-likelihood of every (in-plane angle, map and direction, image, shift), one at a time.

    log w = Re<c y e^{+t} / s2, p> - 1/2 <c^2 / s2, |p|^2>, summed over the whole Fourier plane
    by the rings' quadrature; s2 is the expected power of the noise at a frequency.  Terms that
    are the same for every orientation and shift of an image are left out.

    Scheres, J. Mol. Biol. 415, 406 (2012), equations 3 and 4, expanded.
    """
    maps = cube.data.shape[0]
    area = 2 * polar.sample_area(images.device) / noise  # both Friedel halves
    points = polar.points(images.device)
    lifted = torch.cat([points, torch.zeros_like(points[..., :1])], dim=-1)
    result = torch.empty(
        orientations.n_psi, maps, len(orientations.directions), len(images), len(shifts)
    )
    centred = images[:, None] * shift_phase(points, shifts, box)[None]
    for p, turn in enumerate(axis_rotation(orientations.psi, 2)):
        for d, direction in enumerate(orientations.directions):
            at = (lifted.double() @ (direction @ turn).T).float()
            slices = read_cube(cube, at.reshape(-1, 3)).view(maps, 1, polar.rings, polar.half)
            for k in range(maps):
                model = ctf * slices[k]
                cross = (model[:, None].conj() * centred).real
                norm = (model.abs() ** 2)[:, None]
                result[p, k, d] = ((cross - norm / 2).sum(-1) * area).sum(-1)
    return result.flatten(1, 2)
