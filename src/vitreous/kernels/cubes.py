"""Reading and filling Fourier cubes, by the fastest way that a device has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.kernels.compiler import COMPILED, compiled_for
from vitreous.physics.project import FourierCube, corner_weights, read_cube

if COMPILED:
    from vitreous.kernels.points import insert_points, read_points


def _parts(count: int) -> list[slice]:
    """The points that each core deals with."""
    cores = torch.get_num_threads()
    edges = [count * part // cores for part in range(cores + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]


def read(cube: FourierCube, points: Float[Tensor, "p 3"]) -> Complex[Tensor, "k p"]:
    """Trilinear interpolation of a cube's maps at frequencies (x, y, z), in steps of 1 / box."""
    if not compiled_for(points):
        return read_cube(cube, points)
    out = torch.empty(len(cube.data), len(points), dtype=torch.complex64)
    data = torch.view_as_real(cube.data.contiguous()).reshape(-1).numpy()
    places, values = points.contiguous().numpy(), out.numpy()

    def work(part: slice) -> None:
        read_points(data, cube.side, places[part], cube.padding, values[:, part])

    parts = _parts(len(points))
    if len(parts) == 1:
        work(parts[0])
        return out
    with ThreadPoolExecutor() as pool:
        list(pool.map(work, parts))
    return out


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
    places, turns, values, amounts = (
        part.contiguous().numpy() for part in (points, operators, samples, shares)
    )

    def fill(to_data: Tensor, to_weight: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        insert_points(
            torch.view_as_real(to_data).view(-1).numpy(),
            to_weight.view(-1).numpy(),
            to_weight.shape[-1],
            places[part],
            turns,
            padding,
            values[:, part],
            amounts[:, part],
        )
        return to_data, to_weight

    def work(part: slice) -> tuple[Tensor, Tensor]:
        return fill(torch.zeros_like(data), torch.zeros_like(weight), part)

    parts = _parts(len(points))
    if len(parts) == 1:
        fill(data, weight, parts[0])
        return
    # Each core fills a cube of its own: the sum does not depend on who is first.
    with ThreadPoolExecutor() as pool:
        for more_data, more_weight in pool.map(work, parts):
            data += more_data
            weight += more_weight


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
