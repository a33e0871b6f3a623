"""The adjoint of slicing: weighted Fourier samples put into an oversampled cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.project import FourierCube, cube_side
from vitreous.math.symmetry import lattice_cosets
from vitreous.ops import cubes
from vitreous.ops.threads import side_by_side, workers_on


@dataclass(frozen=True)
class Accumulator:
    """Sums over images of CTF-weighted data and of squared CTF, on an oversampled cube.

    Attributes
    ----------
    data : complex tensor (maps, side, side, side)
        Sum of weight * CTF * image / noise variance.
    weight : tensor (maps, side, side, side)
        Sum of weight * CTF^2 / noise variance.
    padding : int
        Voxels of the cube for one frequency step.
    """

    data: Complex[Tensor, "k s s s"]
    weight: Float[Tensor, "k s s s"]
    padding: int

    def to(self, device: torch.device) -> Accumulator:
        """The same on another device."""
        return Accumulator(self.data.to(device), self.weight.to(device), self.padding)

    def scaled(self, factor: float) -> Accumulator:
        """Both sums times ``factor``."""
        return Accumulator(self.data * factor, self.weight * factor, self.padding)

    def plus(self, other: Accumulator) -> Accumulator:
        """Both sums added, the smaller cube centred in the larger."""
        if self.data.shape[-1] < other.data.shape[-1]:
            self, other = other, self
        margin = (self.data.shape[-1] - other.data.shape[-1]) // 2
        pad = [margin] * 6
        return Accumulator(
            self.data + torch.nn.functional.pad(other.data, pad),
            self.weight + torch.nn.functional.pad(other.weight, pad),
            self.padding,
        )


def summed(parts: Sequence[Accumulator]) -> Accumulator:
    """All of these, one at the least, added in order."""
    return reduce(Accumulator.plus, parts)


def empty_accumulator(
    maps: int, radius: float, padding: int, device: torch.device | None = None
) -> Accumulator:
    """Zero sums for ``maps`` maps out to ``radius`` frequency steps."""
    side = cube_side(radius, padding)
    weight = torch.zeros(maps, side, side, side, device=device)
    return Accumulator(torch.complex(weight, weight), weight.clone(), padding)


def insert(
    accumulator: Accumulator,
    points: Float[Tensor, "p 3"],
    data: Complex[Tensor, "k p"],
    weight: Float[Tensor, "k p"],
    operators: Float[Tensor, "s 3 3"] | None = None,
) -> None:
    """Add samples at frequencies (x, y, z), in steps of 1 / box, into ``accumulator`` in place.

    Parameters
    ----------
    points : tensor (samples, 3)
        The same for every map.
    data, weight : tensors (maps, samples)
        CTF-weighted values and squared CTFs, each over its noise variance.
    operators : tensor (operators, 3, 3), optional
        Point group: each sample is added at all its symmetry mates.
    """
    turns = torch.eye(3)[None] if operators is None else operators
    cubes.insert(
        accumulator.data,
        accumulator.weight,
        accumulator.padding,
        points,
        turns.to(points),
        data,
        weight,
    )


def insert_planes(
    accumulator: Accumulator,
    plane: Float[Tensor, "m 2"],
    matrices: Float[Tensor, "n 3 3"],
    data: Complex[Tensor, "k n m"],
    weight: Float[Tensor, "k n m"],
) -> None:
    """The same at frequencies (x, y) of the slices of these orientations."""
    cubes.insert_planes(
        accumulator.data, accumulator.weight, accumulator.padding, plane, matrices, data, weight
    )


def symmetrise_exact(accumulator: Accumulator, lattice: Float[Tensor, "t 3 3"]) -> Accumulator:
    """Every sample at all its mates under turns that carry the lattice into itself: exact."""
    if len(lattice) == 1:
        return accumulator
    data, weight = cubes.join_mates(accumulator.data, accumulator.weight, lattice)
    return Accumulator(data, weight, accumulator.padding)


def symmetrise_interpolated(
    accumulator: Accumulator, operators: Float[Tensor, "s 3 3"]
) -> Accumulator:
    """Every sample at all its symmetry mates: insert once, then call this.

    Mates that lie between the lattice's voxels are read there, as RELION does.  Inserting at each
    is exact but takes as many times longer.  Friedel mates must have been joined: half of the cube
    is read, the other mirrored.
    """
    lattice, cosets = lattice_cosets(operators)
    joined = symmetrise_exact(accumulator, lattice)
    if len(cosets) == 1:
        return joined
    side, padding = joined.weight.shape[-1], joined.padding
    axis = (torch.arange(side, device=joined.weight.device) - side // 2) / padding
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = (x**2 + y**2 + z**2 <= float(axis[-1] - 1 / padding) ** 2) & (z >= 0)
    points = torch.stack([x[inside], y[inside], z[inside]], dim=-1)
    weight = torch.complex(joined.weight, torch.zeros_like(joined.weight))
    both = FourierCube(torch.cat([joined.data, weight]), padding)
    parts = points.tensor_split(workers_on(points.device))

    def read(worker: int) -> Tensor:
        part = parts[worker]
        found = torch.zeros(len(both.data), len(part), dtype=both.data.dtype, device=part.device)
        for coset in cosets:
            found += cubes.read(both, part @ coset.to(part).T)
        return found

    total = torch.cat(side_by_side(read, len(parts)), dim=1)
    maps = len(joined.data)
    data, shares = torch.zeros_like(joined.data), torch.zeros_like(joined.weight)
    data[:, inside], shares[:, inside] = total[:maps], total[maps:].real
    axes, below = (-3, -2, -1), z < 0
    data = torch.where(below, data.flip(axes).conj(), data)
    return Accumulator(data, torch.where(below, shares.flip(axes), shares), padding)


def friedel_symmetrised(accumulator: Accumulator) -> Accumulator:
    """Every sample joined by its Friedel mate: insert half a plane, then call this once."""
    axes = (-3, -2, -1)
    return Accumulator(
        accumulator.data + accumulator.data.flip(axes).conj(),
        accumulator.weight + accumulator.weight.flip(axes),
        accumulator.padding,
    )
