"""Sums of slices on the half of a Fourier cube that tells it all: x from zero on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.project import cube_side
from vitreous.math.symmetry import lattice_cosets
from vitreous.ops import cubes


@dataclass(frozen=True)
class Accumulator:
    """Sums over images of CTF-weighted data and of squared CTF, on oversampled half cubes.

    Attributes
    ----------
    data : complex tensor (maps, side, side, half)
        Sum of weight * CTF * image / noise variance, at z, y, and x from 0; zero frequency at
        ``(side // 2, side // 2, 0)``.
    weight : tensor (maps, side, side, half)
        Sum of weight * CTF^2 / noise variance.
    padding : int
        Voxels of the cube for one frequency step.
    """

    data: Complex[Tensor, "k s s h"]
    weight: Float[Tensor, "k s s h"]
    padding: int

    @property
    def side(self) -> int:
        """Voxels along an edge of the whole cube, odd."""
        return int(self.weight.shape[-2])

    def at(self, number: int) -> Accumulator:
        """The sums of one map alone, in the same memory."""
        one = slice(number, number + 1)
        return Accumulator(self.data[one], self.weight[one], self.padding)

    def to(self, device: torch.device) -> Accumulator:
        """The same on another device."""
        return Accumulator(self.data.to(device), self.weight.to(device), self.padding)

    def zeros(self) -> Accumulator:
        """Sums of nothing, on cubes as large."""
        return Accumulator(torch.zeros_like(self.data), torch.zeros_like(self.weight), self.padding)

    def scaled(self, factor: float) -> Accumulator:
        """Both sums times ``factor``."""
        return Accumulator(self.data * factor, self.weight * factor, self.padding)

    def plus(self, other: Accumulator) -> Accumulator:
        """Both sums added, the smaller cube centred in the larger."""
        if self.side < other.side:
            self, other = other, self
        total = Accumulator(self.data.clone(), self.weight.clone(), self.padding)
        total.add(other)
        return total

    def add(self, other: Accumulator) -> None:
        """Add another's sums to this one's, in place; its cube is no larger than this one's."""
        edge, half = (self.side - other.side) // 2, other.weight.shape[-1]
        inner = (slice(None), *[slice(edge, self.side - edge)] * 2, slice(half))
        self.data[inner].add_(other.data)
        self.weight[inner].add_(other.weight)

    def tensors(self) -> list[Tensor]:
        """Both sums."""
        return [self.data, self.weight]

    def complete(self) -> None:
        """Join what fell on x = 0 with its Friedel mates: once, when all slices are in."""
        for part in (self.data, self.weight):
            plane = part[..., 0]
            plane.add_(plane.flip((1, 2)).conj().resolve_conj())


def summed(parts: Sequence[Accumulator]) -> Accumulator:
    """All of these, one at the least, added in order."""
    largest = max(parts, key=lambda part: part.side)
    total = largest.zeros()
    for part in parts:
        total.add(part)
    return total


def empty_accumulator(
    maps: int, radius: float, padding: int, device: torch.device | None = None
) -> Accumulator:
    """Zero sums for ``maps`` maps out to ``radius`` frequency steps."""
    side = cube_side(radius, padding)
    weight = torch.zeros(maps, side, side, side // 2 + 1, device=device)
    return Accumulator(torch.zeros_like(weight, dtype=torch.complex64), weight, padding)


def insert(
    accumulator: Accumulator,
    frequencies: Float[Tensor, "p d"],
    planes: Float[Tensor, "n d 3"],
    data: Complex[Tensor, "k n p"],
    weight: Float[Tensor, "k n p"],
    workers: int | None = None,
) -> None:
    """Add slices into ``accumulator`` in place, each sample there or at its Friedel mate.

    Parameters
    ----------
    frequencies : tensor (samples, 2 or 3)
        Image frequencies (x, y) of one half-plane, and z off it where slices are curved.
    planes : tensor (slices, 2 or 3, 3)
        Directions (x, y, z) of the images' axes in the volume, in steps of 1 / box of the map for
        a step of ``frequencies``.
    data, weight : tensors (maps, slices, samples)
        CTF-weighted values and squared CTFs, each over its noise variance.
    workers : int, optional
        Cores to use; by default as many as torch's operations spread over.
    """
    scaled = planes.to(frequencies) * accumulator.padding
    cubes.insert(accumulator.data, accumulator.weight, frequencies, scaled, data, weight, workers)


def symmetrised(accumulator: Accumulator, operators: Float[Tensor, "s 3 3"]) -> Accumulator:
    """Sums as if every slice had been added at all its mates too.

    Mates that the lattice's own turns lead to are joined in place, exactly: ``accumulator`` is used
    up.  Others lie between its voxels and are read there, as RELION does; inserting at each is
    exact but takes as many times longer.

    Parameters
    ----------
    accumulator : Accumulator
        Complete; so is the result.
    operators : tensor (operators, 3, 3)
        Rotations of a point group, identity first.
    """
    lattice, cosets = lattice_cosets(operators)
    if len(lattice) > 1:
        cubes.join_mates(accumulator.data, accumulator.weight, lattice)
    if len(cosets) == 1:
        return accumulator
    total = Accumulator(accumulator.data.clone(), accumulator.weight.clone(), accumulator.padding)
    for turn in cosets[1:]:
        _add_turned(accumulator, turn, total)
    return total


def turned(accumulator: Accumulator, turn: Float[Tensor, "3 3"]) -> Accumulator:
    """Complete sums as if every slice had been added at one mate instead."""
    total = accumulator.zeros()
    _add_turned(accumulator, turn, total)
    return total


def _add_turned(accumulator: Accumulator, turn: Float[Tensor, "3 3"], total: Accumulator) -> None:
    own = accumulator.data, accumulator.weight
    cubes.add_turned(*own, turn.to(accumulator.weight), total.data, total.weight)
