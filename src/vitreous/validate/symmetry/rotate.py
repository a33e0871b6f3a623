"""Turning and shifting a map in Fourier space, and averaging it over a point group."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.imaging.project import map_to_cube
from vitreous.math.fourier import frequency_radius, to_real
from vitreous.ops.cubes import read

_PADDING, _LARGE, _LARGE_PADDING = 3, 160, 2
"""Oversampling of the turned map's transform, finer than 2, to interpolate near Nyquist; and that
of boxes larger than 160, for want of memory (4 GB at 256)."""


def _rotated_mean(
    volume: Float[Tensor, "n n n"], matrices: Float[Tensor, "s 3 3"], shifts: Float[Tensor, "s 3"]
) -> Float[Tensor, "n n n"]:
    """Mean of a map over rotations, each followed by a shift in pixels."""
    box, device = volume.shape[-1], volume.device
    half = frequency_radius(box, 3, device) <= box // 2 - 1
    half[: box // 2] = False
    axis = torch.arange(box, dtype=torch.float32, device=device) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1)[half]
    padding = _PADDING if box <= _LARGE else _LARGE_PADDING
    cube = map_to_cube(volume[None], box // 2, padding)
    values = torch.zeros(len(points), dtype=cube.data.dtype, device=device)
    for matrix, shift in zip(matrices.to(points), shifts.to(points), strict=True):
        phase = (points @ shift) * (-2 * math.pi / box)
        values += read(cube, points @ matrix)[0] * torch.polar(torch.ones_like(phase), phase)
    spectrum = torch.zeros(box, box, box, dtype=values.dtype, device=device)
    spectrum[half] = values / (len(matrices) * box**0.5)
    spectrum[box // 2 + 1 :] *= 2  # for their mates at minus z, once the real part is taken
    return to_real(spectrum, 3)


def rotate_map(
    volume: Float[Tensor, "n n n"], matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]
) -> Float[Tensor, "n n n"]:
    """Turn a map about its box centre, then shift it by ``shift`` pixels (x, y, z)."""
    return _rotated_mean(volume, torch.from_numpy(matrix)[None], torch.from_numpy(shift)[None])


def symmetrise_map(
    volume: Float[Tensor, "n n n"],
    operators: Float[Tensor, "s 3 3"],
    matrix: Float[np.ndarray, "3 3"] | None = None,
    shift: Float[np.ndarray, " 3"] | None = None,
) -> Float[Tensor, "n n n"]:
    """Average a map over a point group, after laying it on the group's axes.

    Both are done in one interpolation, in Fourier space; frequencies beyond Nyquist of the axes
    are left out.

    Parameters
    ----------
    volume : tensor (n, n, n)
    operators : tensor (operators, 3, 3)
        Rotations of the group, identity included.
    matrix : array (3, 3), optional
        Carries points (x, y, z) of the map to the group's frame; by default the identity.
    shift : array (3,), optional
        Then added, pixels (x, y, z); by default none.
    """
    laid = torch.eye(3) if matrix is None else torch.from_numpy(matrix)
    offset = torch.zeros(3) if shift is None else torch.from_numpy(shift)
    return _rotated_mean(volume, operators @ laid.to(operators), operators @ offset.to(operators))
