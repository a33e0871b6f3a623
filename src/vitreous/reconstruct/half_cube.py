"""Sums of slices on the half of a Fourier cube that tells it all: x from zero on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vitreous.ops.compiler import COMPILED, compiled_for
from vitreous.ops.threads import on_every_core

if COMPILED:
    from vitreous.ops.half_planes import add_turned, insert_planes


@dataclass(frozen=True)
class HalfCube:
    """Sums over images of CTF-weighted data and of squared CTFs; filled in place.

    Attributes
    ----------
    data : complex tensor (side, side, half)
        z, y, x; zero frequency at (side // 2, side // 2, 0).
    weight : tensor (side, side, half)
    padding : int
        Voxels of the cube for one frequency step of the map's box.
    """

    data: Complex[Tensor, "s s h"]
    weight: Float[Tensor, "s s h"]
    padding: int

    def add(self, other: HalfCube) -> None:
        """Add another's sums to this one's, in place."""
        self.data.add_(other.data)
        self.weight.add_(other.weight)

    def complete(self) -> None:
        """Join what fell on x = 0 with its Friedel mates: once, when all slices are in."""
        for part in (self.data, self.weight):
            plane = part[:, :, 0]
            plane.add_(plane.flip((0, 1)).conj().resolve_conj())


def half_cube_shape(radius: float, box: int, padding: int) -> tuple[int, int, int]:
    """Voxels along z, y and x out to ``radius`` frequency steps of ``box``, short of Nyquist."""
    reach = min(int(radius * padding) + 2, (box * padding - 1) // 2)
    return 2 * reach + 1, 2 * reach + 1, reach + 1


def empty_half_cube(
    radius: float, box: int, padding: int, device: torch.device | None = None
) -> HalfCube:
    """Zero sums out to ``radius`` frequency steps of ``box``."""
    weight = torch.zeros(half_cube_shape(radius, box, padding), device=device)
    return HalfCube(torch.zeros_like(weight, dtype=torch.complex64), weight, padding)


def insert_slices(
    cube: HalfCube,
    frequencies: Float[Tensor, "p d"],
    planes: Float[Tensor, "n d 3"],
    samples: Complex[Tensor, "n p"],
    shares: Float[Tensor, "n p"],
) -> None:
    """Add slices into ``cube`` in place, by trilinear weights.

    Parameters
    ----------
    frequencies : tensor (samples, 2 or 3)
        Image frequencies (x, y) of one half-plane, and z off it where slices are curved.
    planes : tensor (images, 2 or 3, 3)
        Directions (x, y, z) of the images' axes in the volume, in steps of 1 / box of the map for
        a step of ``frequencies``.
    samples, shares : tensors (images, samples)
        CTF-weighted values and squared CTFs.
    """
    scaled = planes * cube.padding
    if not compiled_for(samples):
        insert_eagerly(cube, frequencies, scaled, samples, shares)
        return
    data, weight = cube.data.numpy(), cube.weight.numpy()
    flat = 3 - frequencies.shape[1]
    solid = pad(frequencies, [0, flat]), pad(scaled, [0, 0, 0, flat])
    points, axes, values, amounts = (
        part.contiguous().resolve_conj().numpy() for part in (*solid, samples, shares)
    )

    on_every_core(
        lambda core, of: insert_planes(data, weight, points, axes, values, amounts, core, of)
    )


def insert_eagerly(
    cube: HalfCube,
    frequencies: Float[Tensor, "p d"],
    planes: Float[Tensor, "n d 3"],
    samples: Complex[Tensor, "n p"],
    shares: Float[Tensor, "n p"],
) -> None:
    """The same, step by step; ``planes`` in voxels of the cube."""
    side, _, half = cube.weight.shape
    points = torch.einsum("pi,nij->npj", frequencies, planes)
    mate = points[..., 0] < 0
    points = torch.where(mate[..., None], -points, points)
    samples = torch.where(mate, samples.conj(), samples)
    points = points + points.new_tensor([0.0, side // 2, side // 2])
    last = points.new_tensor([half - 1, side - 1, side - 1])
    inside = ((points >= 0) & (points.floor() + 1 <= last)).all(dim=-1)
    points, samples, shares = points[inside], samples[inside], shares[inside]
    low, share = points.floor().long(), points % 1
    for (x, y, z), near in _corners(low, share):
        index = (z * side + y) * half + x
        cube.data.view(-1).index_add_(0, index, samples * near)
        cube.weight.view(-1).index_add_(0, index, shares * near)


def _corners(
    low: Int[Tensor, "*p 3"], share: Float[Tensor, "*p 3"]
) -> Iterator[tuple[tuple[Tensor, ...], Float[Tensor, "*p"]]]:
    """Voxels (x, y, z) round each point, and their weights, corner by corner."""
    for corner in product((0, 1), repeat=3):
        step = low.new_tensor(corner)
        near = torch.where(step > 0, share, 1 - share).prod(dim=-1)
        yield (low + step).unbind(-1), near


def symmetrised_cube(cube: HalfCube, operators: Float[Tensor, "s 3 3"]) -> HalfCube:
    """Sums as if every slice had been added at all its mates too.

    Reading the summed cube once for each operator costs the same however many images there are.
    Nothing is interpolated by turns that carry the lattice into itself.

    Parameters
    ----------
    cube : HalfCube
        Complete; so is the result.
    operators : tensor (operators, 3, 3)
        Rotations of a point group, identity first.
    """
    total = HalfCube(cube.data.clone(), cube.weight.clone(), cube.padding)
    for turn in operators[1:]:
        _add_turned(cube, turn.to(cube.weight), total)
    return total


def turned_cube(cube: HalfCube, turn: Float[Tensor, "3 3"]) -> HalfCube:
    """Complete sums as if every slice had been added at one mate instead."""
    total = HalfCube(torch.zeros_like(cube.data), torch.zeros_like(cube.weight), cube.padding)
    _add_turned(cube, turn.to(cube.weight), total)
    return total


def _add_turned(cube: HalfCube, turn: Float[Tensor, "3 3"], total: HalfCube) -> None:
    add = _add_turned_compiled if compiled_for(cube.weight) else add_turned_eagerly
    add(cube, turn, total)


def _add_turned_compiled(cube: HalfCube, turn: Float[Tensor, "3 3"], total: HalfCube) -> None:
    data, weight, matrix = cube.data.numpy(), cube.weight.numpy(), turn.contiguous().numpy()
    radius, sums = cube.weight.shape[-1] - 2, (total.data.numpy(), total.weight.numpy())
    on_every_core(lambda core, of: add_turned(data, weight, matrix, radius, *sums, core, of))


def add_turned_eagerly(cube: HalfCube, turn: Float[Tensor, "3 3"], total: HalfCube) -> None:
    """Add ``cube``, read at ``turn`` times every voxel, to ``total``: section by section."""
    side, _, half = cube.weight.shape
    axis = torch.arange(side, dtype=torch.float32, device=turn.device) - side // 2
    last = turn.new_tensor([half, side, side]).long() - 2
    for section, z in enumerate(axis):
        y, x = torch.meshgrid(axis, axis[side // 2 :], indexing="ij")
        inside = x**2 + y**2 + z**2 <= (half - 2) ** 2
        points = torch.stack([x, y, z.expand_as(x)], dim=-1)[inside] @ turn.T
        mate = points[:, 0] < 0
        points = torch.where(mate[:, None], -points, points)
        points = points + points.new_tensor([0.0, side // 2, side // 2])
        low = points.floor().long().clamp(max=last)
        share = points - low
        data, weight = cube.data.new_zeros(len(points)), cube.weight.new_zeros(len(points))
        for (i, j, k), near in _corners(low, share):
            data += cube.data[k, j, i] * near
            weight += cube.weight[k, j, i] * near
        total.data[section][inside] += torch.where(mate, data.conj(), data)
        total.weight[section][inside] += weight
