"""Reading and filling Fourier cubes, by the fastest way that a device has."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Complex, Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from vitreous.imaging.project import FourierCube, corner_weights, read_cube, slice_points
from vitreous.ops.compiler import COMPILED, compiled_for
from vitreous.ops.threads import on_every_core

if COMPILED:
    from vitreous.ops import mates, neighbours
    from vitreous.ops.points import insert_points, insert_slices, read_points, read_slices

Array = NDArray[Any]
T = TypeVar("T")

_FEW = 20_000
"""Points that one core reads before others have been told to help."""


def _in_parts(work: Callable[[slice], T], count: int) -> list[T]:
    """``work`` done for an equal part of ``count`` things on each core."""
    return on_every_core(lambda core, of: work(slice(count * core // of, count * (core + 1) // of)))


def _flat(values: Tensor) -> Array:
    """The numbers of a contiguous tensor, real and imaginary parts in turn."""
    return (torch.view_as_real(values) if values.is_complex() else values).reshape(-1).numpy()


def read(cube: FourierCube, points: Float[Tensor, "p 3"]) -> Complex[Tensor, "k p"]:
    """Trilinear interpolation of a cube's maps at frequencies (x, y, z), in steps of 1 / box."""
    if not compiled_for(points):
        return read_cube(cube, points)
    out = torch.empty(len(cube.data), len(points), dtype=torch.complex64)
    data, places, values = _flat(cube.data.contiguous()), points.contiguous().numpy(), out.numpy()

    def work(part: slice) -> None:
        read_points(data, cube.side, places[part], cube.padding, values[:, part])

    if len(points) < _FEW:
        work(slice(None))
    else:
        _in_parts(work, len(points))
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
    samples, values = plane.contiguous().numpy(), out.numpy()

    def work(part: slice) -> None:
        read_slices(data, cube.side, samples, turns[part], cube.padding, values[:, part])

    _in_parts(work, len(matrices))
    return out


def _filled(
    data: Complex[Tensor, "k s s s"],
    weight: Float[Tensor, "k s s s"],
    fill: Callable[[Array, Array, slice], None],
    count: int,
) -> None:
    """Add to both cubes what ``fill`` puts into flat ones for the things of a slice."""
    if torch.get_num_threads() == 1:
        fill(_flat(data), _flat(weight), slice(0, count))
        return

    def work(part: slice) -> tuple[Tensor, Tensor]:
        own = torch.zeros_like(data), torch.zeros_like(weight)
        fill(_flat(own[0]), _flat(own[1]), part)
        return own

    # Each core fills a cube of its own: the sum does not depend on who is first.
    for more_data, more_weight in _in_parts(work, count):
        data += more_data
        weight += more_weight


def insert(
    data: Complex[Tensor, "k s s s"],
    weight: Float[Tensor, "k s s s"],
    padding: int,
    points: Float[Tensor, "p 3"],
    operators: Float[Tensor, "s 3 3"],
    samples: Complex[Tensor, "k p"],
    shares: Float[Tensor, "k p"],
) -> None:
    """Add samples, and their weights, to the voxels round each point and its mates, in place."""
    if not compiled_for(points):
        insert_eagerly(data, weight, padding, points, operators, samples, shares)
        return
    side = weight.shape[-1]
    places, turns, values, amounts = (
        part.contiguous().numpy() for part in (points, operators, samples, shares)
    )

    def fill(to: Array, to_weight: Array, part: slice) -> None:
        own = values[:, part], amounts[:, part]
        insert_points(to, to_weight, side, places[part], turns, padding, *own)

    _filled(data, weight, fill, len(points))


def insert_planes(
    data: Complex[Tensor, "k s s s"],
    weight: Float[Tensor, "k s s s"],
    padding: int,
    plane: Float[Tensor, "m 2"],
    matrices: Float[Tensor, "n 3 3"],
    samples: Complex[Tensor, "k n m"],
    shares: Float[Tensor, "k n m"],
) -> None:
    """The same at frequencies (x, y) of the slices of these orientations."""
    if not compiled_for(plane):
        points, alone = slice_points(plane, matrices).flatten(0, 1), torch.eye(3).to(plane)[None]
        flat = samples.flatten(1), shares.flatten(1)
        insert_eagerly(data, weight, padding, points, alone, *flat)
        return
    side = weight.shape[-1]
    places, turns, values, amounts = (
        part.contiguous().numpy() for part in (plane, matrices.to(plane), samples, shares)
    )

    def fill(to: Array, to_weight: Array, part: slice) -> None:
        own = values[:, part], amounts[:, part]
        insert_slices(to, to_weight, side, places, turns[part], padding, *own)

    _filled(data, weight, fill, len(matrices))


def insert_eagerly(
    data: Complex[Tensor, "k s s s"],
    weight: Float[Tensor, "k s s s"],
    padding: int,
    points: Float[Tensor, "p 3"],
    operators: Float[Tensor, "s 3 3"],
    samples: Complex[Tensor, "k p"],
    shares: Float[Tensor, "k p"],
) -> None:
    """The same as :func:`insert`, step by step, on any device."""
    maps, side = weight.shape[0], weight.shape[-1]
    # Real, imaginary and weight side by side: one scatter a corner instead of three.
    values = torch.stack([samples.real, samples.imag, shares], dim=-1)
    values = values.permute(1, 0, 2).reshape(-1, 3 * maps)
    total = torch.zeros(side**3, 3 * maps, device=values.device, dtype=values.dtype)
    for operator in operators:
        indices, corners = corner_weights(points @ operator.T, side, padding)
        for index, corner in zip(indices, corners, strict=True):
            total.index_add_(0, index, values * corner[:, None].to(values.dtype))
    total = total.view(side, side, side, maps, 3).permute(3, 0, 1, 2, 4)
    data.add_(torch.complex(total[..., 0].contiguous(), total[..., 1].contiguous()))
    weight.add_(total[..., 2])


def join_mates(
    data: Complex[Tensor, "k s s s"],
    weight: Float[Tensor, "k s s s"],
    turns: Float[Tensor, "t 3 3"],
) -> tuple[Complex[Tensor, "k s s s"], Float[Tensor, "k s s s"]]:
    """Sums, for every voxel, of its mates under turns of the lattice."""
    if not compiled_for(weight):
        return join_mates_eagerly(data, turns), join_mates_eagerly(weight, turns)
    data, weight = data.clone(), weight.clone()
    values, shares = (sums.view(len(sums), -1).numpy() for sums in (data, weight))
    whole = turns.round().long().contiguous().numpy()
    side = weight.shape[-1]
    on_every_core(lambda core, of: mates.join_mates(values, shares, side, whole, core, of))
    return data, weight


def join_mates_eagerly(
    values: Shaped[Tensor, "k s s s"], turns: Float[Tensor, "t 3 3"]
) -> Shaped[Tensor, "k s s s"]:
    """The same sums, turn by turn."""
    return reduce(torch.add, (_turned(values, turn) for turn in turns.round().long().tolist()))


def _turned(values: Shaped[Tensor, "k s s s"], turn: list[list[int]]) -> Shaped[Tensor, "k s s s"]:
    """Values at ``turn`` times every voxel; each row of the turn holds one 1 or -1."""
    x = values.dim() - 1  # x varies along the last dimension, y and z along those before it
    back = [x - row for row in range(3) if sum(turn[row]) < 0]
    source = [next(row for row in range(3) if turn[row][column]) for column in range(3)]
    return values.flip(back).permute(0, x - source[2], x - source[1], x - source[0])


def smooth(values: Shaped[Tensor, "k s s s"]) -> Shaped[Tensor, "k s s s"]:
    """Mean of each voxel with its neighbours, weights 1, 4, 6, 4, 1 along every axis."""
    if not compiled_for(values):
        return smooth_eagerly(values)
    side, width = values.shape[-1], 2 if values.is_complex() else 1
    lines = _flat(values.contiguous())
    for step in (width, width * side, width * side**2):
        lines = _smoothed_along(lines.reshape(-1, step * side), step)
    found = torch.from_numpy(lines)
    if values.is_complex():
        found = torch.view_as_complex(found.view(-1, 2))
    return found.view(values.shape)


def _smoothed_along(lines: Array, step: int) -> Array:
    """The same along one axis: ``step`` is how far apart neighbours lie on a line."""
    count, length = lines.shape
    out = np.empty_like(lines)

    def part(core: int, of: int) -> None:
        if count < of:  # few lines: each is divided among the cores
            own = length * core // of, length * (core + 1) // of
            neighbours.smooth(lines, step, out, *own)
        else:
            rows = slice(count * core // of, count * (core + 1) // of)
            neighbours.smooth(lines[rows], step, out[rows], 0, length)

    on_every_core(part)
    return out


def smooth_eagerly(values: Shaped[Tensor, "k s s s"]) -> Shaped[Tensor, "k s s s"]:
    """The same, by matrices."""
    if values.is_complex():
        return torch.complex(smooth_eagerly(values.real), smooth_eagerly(values.imag))
    matrix = _sharing(values.shape[-1], values.device)
    rows = matrix @ (values @ matrix)
    return (matrix @ rows.flatten(2)).view(values.shape)


@lru_cache(maxsize=16)
def _sharing(side: int, device: torch.device) -> Float[Tensor, "s s"]:
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    diagonals = [torch.full((side - abs(k),), line[k + 2].item()).diag(k) for k in range(-2, 3)]
    return torch.stack(diagonals).sum(dim=0).to(device)
