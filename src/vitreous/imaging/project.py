"""Central slices: a map's transform on an oversampled cube, and reading it between voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from vitreous.math.fourier import low_planes, waves

_AT_ONCE = 1 << 22
"""Coefficients of a transform that are made at once."""


@dataclass(frozen=True)
class FourierCube:
    """Part of maps' oversampled transforms, out to some frequency: the half that tells it all.

    At negative x lie the complex conjugates of what is held at the opposite point (Friedel mates).

    Attributes
    ----------
    data : complex tensor (maps, side, side, half)
        Of z, y, and x from 0; frequency (0, 0, 0) at ``(side // 2, side // 2, 0)``.
    padding : int
        Voxels of the cube for one frequency step of the map's box.
    """

    data: Complex[Tensor, "k s s h"]
    padding: int

    @property
    def side(self) -> int:
        """Voxels along an edge of the whole cube, odd."""
        return int(self.data.shape[-2])


def cube_side(radius: float, padding: int) -> int:
    """Side of a cube that holds every neighbour of points out to ``radius`` frequency steps."""
    return 2 * (math.ceil(radius * padding) + 1) + 1


def gridding_window(box: int, padding: int, device: torch.device | None = None) -> Tensor:
    """Real-space envelope, squared sinc along every axis, of trilinear interpolation."""
    axis = (torch.arange(box, device=device) - box // 2) / (box * padding)
    line = torch.sinc(axis) ** 2
    return line[:, None, None] * line[:, None] * line


def map_to_cube(volume: Float[Tensor, "k n n n"], radius: float, padding: int = 2) -> FourierCube:
    """Oversampled transform of maps, ready for :func:`read_cube`.

    Parameters
    ----------
    volume : tensor (maps, n, n, n)
    radius : float
        Largest frequency to be read, in steps of 1 / box.
    padding : int
        Oversampling; 2 as RELION.

    Notes
    -----
    Scaled so that a slice is the unitary transform of the projection (sum over z); divided by
    the window of trilinear interpolation beforehand, as in Matthews et al. (gridding).
    """
    cube = empty_cube(len(volume), volume[0], radius, padding)
    for own, one in zip(cube.data, volume, strict=True):
        transform_into(own, one, padding)
    return cube


def empty_cube(
    maps: int, volume: Float[Tensor, "n n n"], radius: float, padding: int
) -> FourierCube:
    """Cube of zeros for so many maps, on the device of one of them."""
    side = cube_side(radius, padding)
    shape = maps, side, side, side // 2 + 1
    return FourierCube(torch.zeros(shape, dtype=torch.complex64, device=volume.device), padding)


def transform_into(
    data: Complex[Tensor, "s s h"], volume: Float[Tensor, "n n n"], padding: int
) -> None:
    """Put the oversampled transform of a map into a cube's zeros, as :func:`map_to_cube` does."""
    box, side = volume.shape[-1], data.shape[0]
    period = box * padding
    known = min(side, (period - 1) // 2 * 2 + 1)  # below Nyquist
    edge, columns = (side - known) // 2, known // 2 + 1
    window = gridding_window(box, padding, volume.device) * box
    wave = waves(known, box, period, volume.device)
    planes = low_planes(volume / window, known, period).flatten(1)
    inner = data[edge : side - edge, edge : side - edge, :columns]
    thick = max(1, _AT_ONCE // planes.shape[1])
    for low in range(0, known, thick):
        z = slice(low, min(low + thick, known))
        inner[z] = (wave[z] @ planes).view(-1, known, columns)


def at_positive_x(
    points: Float[Tensor, "*p 3"],
) -> tuple[Float[Tensor, "*p 3"], Bool[Tensor, "*p"]]:
    """Points (x, y, z), those of negative x replaced by the opposite ones; and which these are."""
    mate = points[..., 0] < 0
    return torch.where(mate[..., None], -points, points), mate


def corner_weights(
    points: Float[Tensor, "p 3"], side: int, padding: int
) -> tuple[Int[Tensor, "8 p"], Float[Tensor, "8 p"]]:
    """Flat indices and trilinear weights of the eight voxels round each point (x, y, z), x >= 0."""
    half = side // 2 + 1
    place = points * padding + points.new_tensor([0.0, side // 2, side // 2])
    last = points.new_tensor([half, side, side]) - 2
    floor = torch.minimum(place.floor().clamp(min=0), last)
    fraction = (place - floor).clamp(0, 1)
    low = floor.long()
    base = (low[:, 2] * side + low[:, 1]) * half + low[:, 0]
    indices, weights = [], []
    for z in (0, 1):
        for y in (0, 1):
            for x in (0, 1):
                indices.append(base + (z * side + y) * half + x)
                w = [f if up else 1 - f for up, f in zip((x, y, z), fraction.T, strict=True)]
                weights.append(w[0] * w[1] * w[2])
    return torch.stack(indices), torch.stack(weights)


def read_cube(cube: FourierCube, points: Float[Tensor, "p 3"]) -> Complex[Tensor, "k p"]:
    """Trilinear interpolation of a cube's maps at frequencies (x, y, z), in steps of 1 / box."""
    flat = cube.data.flatten(1)
    points, mate = at_positive_x(points)
    indices, weights = corner_weights(points, cube.side, cube.padding)
    value = torch.zeros(flat.shape[0], points.shape[0], dtype=flat.dtype, device=flat.device)
    for index, weight in zip(indices, weights, strict=True):
        value += flat[:, index] * weight.to(flat.real.dtype)
    return torch.where(mate, value.conj(), value)


def image_frequencies(box: int, device: torch.device | None = None) -> Float[Tensor, "n n 2"]:
    """Frequencies (x, y) of a centred 2D transform, in steps of 1 / box."""
    axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1)


def slice_points(
    frequencies: Float[Tensor, "*p 2"], matrices: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n *p 3"]:
    """Where the slices of these orientations lie in the volume: A transposed times (kx, ky, 0)."""
    in_plane = matrices[:, :2, :].to(frequencies)
    return torch.einsum("...i,nij->n...j", frequencies, in_plane)


def project(
    cube: FourierCube, matrices: Float[Tensor, "n 3 3"], box: int
) -> Complex[Tensor, "n b b"]:
    """Unitary, centred transforms of projections of a cube's first map, zero beyond Nyquist."""
    frequencies = image_frequencies(box, cube.data.device)
    # The row and column at minus Nyquist have no partner; they and the corners stay empty.
    inside = (frequencies**2).sum(-1).sqrt() <= min(box // 2 - 1, cube.side // 2 / cube.padding - 1)
    slices = torch.zeros(len(matrices), box, box, dtype=cube.data.dtype, device=cube.data.device)
    points = slice_points(frequencies[inside], matrices)
    values = read_cube(FourierCube(cube.data[:1], cube.padding), points.reshape(-1, 3))
    slices[:, inside] = values.reshape(len(matrices), -1)
    return slices


def shift_phase(
    frequencies: Float[Tensor, "*p 2"], shifts: Float[Tensor, "t 2"], box: int
) -> Complex[Tensor, "t ..."]:
    """Factor that moves an image by ``shifts`` (x, y) pixels: exp(-2 pi i k . shift / box)."""
    phase = torch.einsum("...i,ti->t...", frequencies, shifts.to(frequencies))
    phase = phase * (-2 * math.pi / box)
    return torch.polar(torch.ones_like(phase), phase)
