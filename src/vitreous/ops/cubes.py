"""Reading, filling, turning and smoothing Fourier cubes, by the fastest way that a device has.

Cubes are halves: z, y, and x from 0, which tell all of a real map's transform.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from jaxtyping import Complex, Float, Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from vitreous.imaging.project import (
    FourierCube,
    at_positive_x,
    corner_weights,
    read_cube,
    slice_points,
)
from vitreous.ops.compiler import COMPILED, compiled_for
from vitreous.ops.threads import in_parts, on_every_core

if COMPILED:
    from vitreous.ops import mates, neighbours
    from vitreous.ops.points import insert_slices, read_points, read_slices

Array = NDArray[Any]

_FEW = 20_000
"""Points that one core reads before others have been told to help."""

_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Shares of a voxel and its neighbours along each axis."""

REACH = len(_TAPS) // 2
"""How far the neighbours lie that share with a voxel."""

_AT_ONCE = 1 << 22
"""Voxels that are turned at once where nothing is compiled."""


def _array(values: Tensor) -> Array:
    """The numbers of a tensor, laid out one after the other."""
    return values.contiguous().resolve_conj().numpy()


def _flat(values: Tensor) -> Array:
    """The numbers of a contiguous tensor, real and imaginary parts in turn."""
    return (torch.view_as_real(values) if values.is_complex() else values).view(-1).numpy()


def read(cube: FourierCube, points: Float[Tensor, "p 3"]) -> Complex[Tensor, "k p"]:
    """Trilinear interpolation of a cube's maps at frequencies (x, y, z), in steps of 1 / box."""
    if not compiled_for(points):
        return read_cube(cube, points)
    out = torch.empty(len(cube.data), len(points), dtype=torch.complex64)
    data, places, values = _flat(cube.data.contiguous()), _array(points.T), out.numpy()

    def work(part: slice) -> None:
        read_points(data, cube.side, places[:, part], cube.padding, values[:, part])

    if len(points) < _FEW:
        work(slice(None))
    else:
        in_parts(work, len(points))
    return out


def read_planes(
    cube: FourierCube, plane: Float[Tensor, "m 2"], matrices: Float[Tensor, "n 3 3"]
) -> Complex[Tensor, "k n m"]:
    """The same at frequencies (x, y) of the slices of these orientations."""
    if not compiled_for(plane):
        points = slice_points(plane, matrices)
        return read_cube(cube, points.reshape(-1, 3)).view(-1, *points.shape[:2])
    out = torch.empty(len(cube.data), len(matrices), len(plane), dtype=torch.complex64)
    data, turns = _flat(cube.data.contiguous()), matrices.to(plane).contiguous().numpy()
    samples, values = _array(pad(plane, [0, 1]).T), out.numpy()

    def work(part: slice) -> None:
        read_slices(data, cube.side, samples, turns[part], cube.padding, values[:, part])

    in_parts(work, len(matrices))
    return out


def insert(
    data: Complex[Tensor, "k s s h"],
    weight: Float[Tensor, "k s s h"],
    frequencies: Float[Tensor, "p d"],
    planes: Float[Tensor, "n d 3"],
    samples: Complex[Tensor, "k n p"],
    shares: Float[Tensor, "k n p"],
    workers: int | None = None,
) -> None:
    """Add slices, and their weights, to the voxels round each of their points, in place.

    Each point is added once, by trilinear weights, at x from 0 on: there or at its Friedel mate.
    Those that the cube does not hold are left out.

    Parameters
    ----------
    frequencies : tensor (points, 2 or 3)
        Image frequencies (x, y), and z off the image's plane where slices are curved.
    planes : tensor (slices, 2 or 3, 3)
        Directions (x, y, z) of the images' axes, in voxels for a step of ``frequencies``.
    workers : int, optional
        Cores; by default as many as torch's operations spread over.
    """
    if not compiled_for(samples):
        insert_eagerly(data, weight, frequencies, planes, samples, shares)
        return
    flat = 3 - frequencies.shape[1]
    solid = pad(frequencies, [0, flat]).T, pad(planes, [0, 0, 0, flat])
    fill = partial(
        insert_slices, _flat(data), _flat(weight), data.shape[1],
        *(_array(part) for part in (*solid, samples, shares)),
    )  # fmt: skip
    on_every_core(fill, workers)


def insert_eagerly(
    data: Complex[Tensor, "k s s h"],
    weight: Float[Tensor, "k s s h"],
    frequencies: Float[Tensor, "p d"],
    planes: Float[Tensor, "n d 3"],
    samples: Complex[Tensor, "k n p"],
    shares: Float[Tensor, "k n p"],
) -> None:
    """The same, step by step, on any device."""
    maps, side, _, half = weight.shape
    points = torch.einsum("pi,nij->npj", frequencies, planes).flatten(0, 1)
    points, mate = at_positive_x(points)
    low = points.floor() + points.new_tensor([0.0, side // 2, side // 2])
    last = points.new_tensor([half, side, side]) - 2
    inside = ((low >= 0) & (low <= last)).all(dim=-1)
    values, amounts = samples.flatten(1), shares.flatten(1)
    values = torch.where(mate, values.conj(), values)[:, inside]
    amounts = amounts[:, inside]
    for index, near in zip(*corner_weights(points[inside], side, 1), strict=True):
        data.view(maps, -1).index_add_(1, index, values * near)
        weight.view(maps, -1).index_add_(1, index, amounts * near)


def join_mates(
    data: Complex[Tensor, "k s s h"],
    weight: Float[Tensor, "k s s h"],
    turns: Float[Tensor, "t 3 3"],
) -> None:
    """Replace every voxel by the sum of its mates under a group of turns of the lattice, in place.

    Both Friedel mates must be held at x = 0.  Nothing is interpolated.
    """
    if not compiled_for(weight):
        before = data.clone(), weight.clone()
        for turn in turns[1:]:
            add_turned_eagerly(*before, turn.to(weight), data, weight, radius=math.inf)
        return
    values, shares = data.view(len(data), -1).numpy(), weight.view(len(data), -1).numpy()
    whole, side = turns.round().long().contiguous().numpy(), data.shape[1]
    on_every_core(lambda core, of: mates.join_mates(values, shares, side, whole, core, of))


def add_turned(
    data: Complex[Tensor, "k s s h"],
    weight: Float[Tensor, "k s s h"],
    turn: Float[Tensor, "3 3"],
    data_sum: Complex[Tensor, "k s s h"],
    weight_sum: Float[Tensor, "k s s h"],
) -> None:
    """Add cubes, read between voxels at ``turn`` times every voxel, to sums in place.

    Out to the last voxel but one; both Friedel mates must be held at x = 0.
    """
    if not compiled_for(weight):
        add_turned_eagerly(data, weight, turn, data_sum, weight_sum)
        return
    sums = data_sum.numpy(), weight_sum.numpy()
    cubes, matrix, radius = (data.numpy(), weight.numpy()), _array(turn), data.shape[-1] - 2
    on_every_core(lambda core, of: mates.add_turned(*cubes, matrix, radius, *sums, core, of))


def add_turned_eagerly(
    data: Complex[Tensor, "k s s h"],
    weight: Float[Tensor, "k s s h"],
    turn: Float[Tensor, "3 3"],
    data_sum: Complex[Tensor, "k s s h"],
    weight_sum: Float[Tensor, "k s s h"],
    *,
    radius: float | None = None,
) -> None:
    """The same, some sections at a time, on any device; out to another radius if one is given."""
    maps, side, _, half = weight.shape
    axis = torch.arange(side, dtype=torch.float32, device=turn.device) - side // 2
    for some in torch.arange(side).split(max(1, _AT_ONCE // (side * half))):
        part = slice(int(some[0]), int(some[-1]) + 1)
        z, y, x = torch.meshgrid(axis[part], axis, axis[side // 2 :], indexing="ij")
        inside = x**2 + y**2 + z**2 <= (half - 2 if radius is None else radius) ** 2
        points, mate = at_positive_x(torch.stack([x, y, z], dim=-1)[inside] @ turn.T)
        values = data.new_zeros(maps, len(points))
        shares = weight.new_zeros(maps, len(points))
        for index, near in zip(*corner_weights(points, side, 1), strict=True):
            values += data.view(maps, -1)[:, index] * near
            shares += weight.view(maps, -1)[:, index] * near
        data_sum[:, part][:, inside] += torch.where(mate, values.conj(), values)
        weight_sum[:, part][:, inside] += shares


def smooth(
    block: Shaped[Tensor, "b s h"], beyond: Shaped[Tensor, "b s 2"], first: int, count: int
) -> Shaped[Tensor, "z s h"]:
    """Mean of each voxel with its neighbours, weights 1, 4, 6, 4, 1 along every axis.

    Parameters
    ----------
    block : tensor (sections, side, half)
        Some sections of a cube; outside them all is zero.
    beyond : tensor (sections, side, 2)
        The same at x = -2 and -1.
    first, count : int
        Sections of the block that the means are of.
    """
    if not compiled_for(block):
        return smooth_eagerly(block, beyond, first, count)
    width = 2 if block.is_complex() else 1
    out = block.new_empty(count, *block.shape[1:])
    inputs, found = (
        [(torch.view_as_real(part).flatten(2) if width == 2 else part).numpy() for part in parts]
        for parts in ((block.contiguous(), beyond.contiguous().resolve_conj()), (out,))
    )
    on_every_core(lambda core, of: neighbours.smooth(*inputs, first, width, *found, core, of))
    return out


def smooth_eagerly(
    block: Shaped[Tensor, "b s h"], beyond: Shaped[Tensor, "b s 2"], first: int, count: int
) -> Shaped[Tensor, "z s h"]:
    """The same, axis by axis, on any device."""
    above, below = REACH - first, first + count + REACH - len(block)
    whole = pad(torch.cat([beyond, block], dim=2), [0, REACH, REACH, REACH, above, below])
    return _blurred(_blurred(_blurred(whole, 0), 1), 2)


def _blurred(values: Tensor, dim: int) -> Tensor:
    """Weighted means of neighbours along one axis, which loses its ends."""
    count = values.shape[dim] - 2 * REACH
    total = values.narrow(dim, 0, count) * _TAPS[0]
    for place, tap in enumerate(_TAPS[1:], 1):
        total.add_(values.narrow(dim, place, count), alpha=tap)
    return total
