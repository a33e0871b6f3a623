"""From summed slices to a map: the least-squares solution, some sections of the cube at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.masks import cosine_edge, soft_sphere
from vitreous.imaging.project import gridding_window
from vitreous.math.fourier import shell_mean, waves
from vitreous.reconstruct.half_cube import HalfCube
from vitreous.reconstruct.solve import shared_window

_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Shares of a voxel and its neighbours along each axis, as in :mod:`vitreous.reconstruct.solve`."""

_REACH = len(_TAPS) // 2

_SLAB = 1 << 22
"""Voxels of the cube dealt with at once."""

_LEAST = 1e-3
"""Regularisation over the mean weight of the shell: keeps empty voxels finite."""

_EDGE = 3.0
"""Pixels of the soft edge of the ball outside which the map is zero."""


class _Cube:
    """A cube's sums, or what is left of them once an estimate of the map is taken off."""

    def __init__(self, cube: HalfCube, box: int, estimate: Float[Tensor, "n n n"] | None):
        self.cube, self.box = cube, box
        self.side, _, self.half = cube.weight.shape
        self.device = cube.weight.device
        self.waves = waves(self.side, box, box * cube.padding, self.device)
        self.steps = (torch.arange(self.side, device=self.device) - self.side // 2) / cube.padding
        self._estimate = None if estimate is None else self._transformed_in_plane(estimate)

    def _transformed_in_plane(self, volume: Float[Tensor, "n n n"]) -> Complex[Tensor, "n s h"]:
        windowed = volume * gridding_window(self.box, self.cube.padding, self.device) / self.box
        positive = self.waves[-self.half :].T
        lines = torch.complex(windowed @ positive.real, windowed @ positive.imag)
        return self.waves @ lines

    def data(self, z: slice, x: slice) -> Complex[Tensor, "z s x"]:
        """Data of some sections and columns."""
        found = self.cube.data[z, :, x]
        if self._estimate is None:
            return found
        known = torch.einsum("kz,zyx->kyx", self.waves[z], self._estimate[:, :, x])
        return found - self.cube.weight[z, :, x] * known

    def distance(self, z: slice) -> Float[Tensor, "z s h"]:
        """Frequency of each voxel of some sections, in steps of 1 / box."""
        y, x = self.steps[:, None] ** 2, self.steps[-self.half :] ** 2
        return (self.steps[z][:, None, None] ** 2 + y + x).sqrt()


def _blurred(values: Tensor, dim: int) -> Tensor:
    """Weighted means of neighbours along one axis, which loses its ends."""
    count = values.shape[dim] - 2 * _REACH
    total = values.narrow(dim, 0, count) * _TAPS[0]
    for place, tap in enumerate(_TAPS[1:], 1):
        total.add_(values.narrow(dim, place, count), alpha=tap)
    return total


def _shared(block: Tensor, beyond: Tensor, above: int, below: int) -> Tensor:
    """Sections shared with their neighbours.

    ``beyond`` are their values at negative x, by |x| from 1; so many sections ``above`` and
    ``below`` them lie outside the cube.
    """
    whole = torch.cat([beyond.flip(2), block], dim=2)
    whole = torch.nn.functional.pad(whole, [0, _REACH, _REACH, _REACH, above, below])
    return _blurred(_blurred(_blurred(whole, 0), 1), 2)


def _mates(columns: Tensor) -> Tensor:
    """Values at minus x of columns at x."""
    return columns.flip((0, 1)).conj().resolve_conj()


def _shell_weights(cube: _Cube, slabs: list[slice]) -> Float[Tensor, " r"]:
    """Mean weight of the shells, one frequency step wide."""
    count = int(cube.steps[-1] * 3**0.5) + 3
    total = torch.zeros(2, count, dtype=torch.float64, device=cube.device)
    for z in slabs:
        shells = cube.distance(z).round().long()
        members = torch.bincount(shells.flatten(), minlength=count)
        total[0] += shell_mean(cube.cube.weight[z], shells, count) * members
        total[1] += members
    return (total[0] / total[1].clamp(min=1)).float()


def _shared_sums(cube: _Cube, slabs: list[slice]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Slabs of the cube, each with its data and weight shared among neighbouring voxels."""
    everything, near = slice(None), slice(1, 1 + _REACH)
    data_beyond = _mates(cube.data(everything, near))
    weight_beyond = _mates(cube.cube.weight[:, :, near])
    for z in slabs:
        above, below = max(_REACH - z.start, 0), max(z.stop + _REACH - cube.side, 0)
        inner = slice(z.start - _REACH + above, z.stop + _REACH - below)
        data = _shared(cube.data(inner, everything), data_beyond[inner], above, below)
        weight = _shared(cube.cube.weight[inner], weight_beyond[inner], above, below)
        yield z, data, weight


def _solved(cube: _Cube, radius: float) -> Float[Tensor, "n n n"]:
    """Map of the cube's data over its weight."""
    box, padding, half = cube.box, cube.cube.padding, cube.half
    thick = max(1, _SLAB // (cube.side * half))
    slabs = [slice(low, min(low + thick, cube.side)) for low in range(0, cube.side, thick)]
    least = _LEAST * _shell_weights(cube, slabs)
    planes = torch.zeros(box, cube.side, half, dtype=torch.complex64, device=cube.device)
    for z, data, weight in _shared_sums(cube, slabs):
        distance = cube.distance(z)
        shell = distance.long()
        added = torch.lerp(least[shell], least[shell + 1], distance - shell)
        factor = cosine_edge(distance, radius - 0.5, 1.0) / (weight + added).clamp(min=1e-20)
        planes += torch.einsum("kz,kyx->zyx", cube.waves[z].conj(), data * factor)
    lines = cube.waves.mH @ planes
    positive = cube.waves[-half:] * 2
    positive[0] /= 2  # every frequency but zero stands for its mate too
    volume = lines.real @ positive.real + lines.imag @ positive.imag
    window = gridding_window(box, padding, cube.device) * shared_window(box, padding, cube.device)
    return volume * (box / (box * padding) ** 3) / window


def least_squares_map(cube: HalfCube, box: int, radius: float) -> Float[Tensor, "n n n"]:
    """Map that explains the slices best, zero outside the ball that fits its box.

    Data over weight, both shared among neighbouring voxels, and the same again for what that map
    leaves unexplained: where the weight changes steeply, as near the zero frequency, neighbours
    do not stand for one another.

    Parameters
    ----------
    cube : HalfCube
        Complete.
    box : int
        Pixels of the map.
    radius : float
        Frequencies beyond it, in steps of 1 / box, are left out.
    """
    ball = soft_sphere(box, box / 2 - _EDGE, _EDGE, 3, cube.weight.device)
    estimate = _solved(_Cube(cube, box, None), radius) * ball
    return estimate + _solved(_Cube(cube, box, estimate), radius) * ball
