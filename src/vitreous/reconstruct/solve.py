"""From accumulated slices to maps, some sections of the cube at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.imaging.masks import cosine_edge, soft_sphere
from vitreous.imaging.project import gridding_window
from vitreous.math.fourier import from_low_frequencies, low_frequencies, low_planes, waves
from vitreous.ops import cubes
from vitreous.reconstruct.accumulator import Accumulator

_LEAST = 1e-3
"""Regularisation over the mean weight of the shell where there is no prior: keeps empty voxels
finite."""

_AT_ONCE = 1 << 22
"""Voxels of the cube dealt with at once."""

_EDGE = 3.0
"""Pixels of the soft edge of the ball outside which a least-squares map is zero."""


def _squares(side: int, z: slice, device: torch.device) -> Int[Tensor, "z s h"]:
    """Squared distance from zero frequency of the voxels of some sections of a half cube."""
    axis = (torch.arange(side, device=device, dtype=torch.int32) - side // 2) ** 2
    return axis[z, None, None] + axis[:, None] + axis[side // 2 :]


def _frequencies(side: int, padding: int, device: torch.device) -> Float[Tensor, " d"]:
    """Frequency in steps of 1 / box of each squared distance that a cube's voxels can have."""
    return torch.arange(3 * (side // 2) ** 2 + 1, device=device).sqrt() / padding


def _at(values: Float[Tensor, " d"], squares: Int[Tensor, "z s h"]) -> Float[Tensor, "z s h"]:
    """Values given for each squared distance, at some voxels."""
    return values.index_select(0, squares.flatten()).view(squares.shape)


def _slabs(side: int, first: int, last: int) -> Iterator[slice]:
    """Some sections of a half cube at a time, from ``first`` to before ``last``."""
    thick = max(1, _AT_ONCE // (side * (side // 2 + 1)))
    for low in range(first, last, thick):
        yield slice(low, min(low + thick, last))


def _shell_sums(
    cube: Float[Tensor, "s s h"], padding: int, shells: int
) -> Float[Tensor, " shells"]:
    """Sums over the shells of the whole cube: what has a mate that is not held counts twice."""
    side, device = cube.shape[0], cube.device
    shell = _frequencies(side, padding, device).round().long().clamp(max=shells)
    total = torch.zeros(shells + 1, dtype=torch.float64, device=device)
    for z in _slabs(side, 0, side):
        index = shell.index_select(0, _squares(side, z, device).flatten())
        values = cube[z].double()
        values[:, :, 1:] *= 2
        total.index_add_(0, index, values.flatten())
    return total[:shells]


@lru_cache(maxsize=16)
def _members(side: int, padding: int, shells: int, device: torch.device) -> Float[Tensor, " s"]:
    """Voxels in each shell of a whole cube."""
    one = torch.ones((), device=device)
    return _shell_sums(one.expand(side, side, side // 2 + 1), padding, shells)


def _shell_means(
    cube: Float[Tensor, "k s s h"], padding: int, shells: int
) -> Float[Tensor, "k shells"]:
    members = _members(cube.shape[1], padding, shells, cube.device)
    return torch.stack([_shell_sums(one, padding, shells) for one in cube]) / members.clamp(min=1)


def shell_information(accumulator: Accumulator, shells: int) -> Float[Tensor, "k s"]:
    """Mean inverse noise variance of one Fourier voxel of the map's own box, in each shell.

    A voxel of the box owns padding^3 voxels of the cube, and the samples of all of them.
    """
    padding = accumulator.padding
    return _shell_means(accumulator.weight, padding, shells) * padding**3


def map_power(volume: Float[Tensor, "k n n n"], shells: int) -> Float[Tensor, "k s"]:
    """Mean power in each shell of maps' transforms, in the scale of slices."""
    box = volume.shape[-1]
    side = min(2 * shells + 1, box - 1 + box % 2)
    power = low_frequencies(volume, side, box).abs() ** 2 / box**2
    return _shell_means(power, 1, shells)


def shared_window(box: int, padding: int, device: torch.device) -> Float[Tensor, "n n n"]:
    """What :func:`vitreous.ops.cubes.smooth` multiplies the map by."""
    axis = (torch.arange(box, device=device) - box // 2) / (box * padding)
    line = torch.cos(torch.pi * axis) ** 4
    return line[:, None, None] * line[:, None] * line


class _Sums:
    """The sums of one map, or what is left of them once an estimate of the map is taken off."""

    def __init__(self, sums: Accumulator, box: int, estimate: Float[Tensor, "n n n"] | None = None):
        self.side, self.padding, self.period = sums.side, sums.padding, box * sums.padding
        self._data, self._weight = sums.data[0], sums.weight[0]
        self._planes: Tensor | None = None
        if estimate is not None:
            window = gridding_window(box, sums.padding, estimate.device) / box
            self._planes = low_planes(estimate * window, self.side, self.period)

    def data(self, z: slice, x: slice) -> Complex[Tensor, "z s x"]:
        """Data of some sections and columns."""
        found = self._data[z, :, x]
        if self._planes is None:
            return found
        wave = waves(self.side, len(self._planes), self.period, found.device)
        known = torch.einsum("kz,zyx->kyx", wave[z], self._planes[:, :, x])
        return found - self._weight[z, :, x] * known

    def smoothed(
        self, first: int, last: int
    ) -> Iterator[tuple[slice, Complex[Tensor, "z s h"], Float[Tensor, "z s h"]]]:
        """Sections, some at a time, their data and weight shared among neighbouring voxels.

        Neighbouring voxels of the oversampled cube hold one and the same coefficient of the map:
        sharing lets each count by its information.
        """
        every, reach = slice(None), cubes.REACH
        beyond = [
            part.flip((0, 1, 2)).conj().resolve_conj()
            for part in (self.data(every, slice(1, 1 + reach)), self._weight[:, :, 1 : 1 + reach])
        ]
        for z in _slabs(self.side, first, last):
            inner = slice(max(z.start - reach, 0), min(z.stop + reach, self.side))
            blocks = self.data(inner, every), self._weight[inner]
            data, weight = (
                cubes.smooth(block, mates[inner], z.start - inner.start, z.stop - z.start)
                for block, mates in zip(blocks, beyond, strict=True)
            )
            yield z, data, weight


def _map_of(
    sums: _Sums, regulariser: Float[Tensor, " d"], box: int, radius: float
) -> Float[Tensor, "n n n"]:
    """Map of data over weight and a regulariser, given for each squared distance."""
    side, padding, period = sums.side, sums.padding, sums.period
    device = regulariser.device
    window = cosine_edge(_frequencies(side, padding, device), radius - 0.5, 1.0)
    # Beyond Nyquist, and where the window is zero, there is nothing to be summed.
    middle = side // 2
    reach = min(middle, (period - 1) // 2, math.ceil((radius + 0.5) * padding))
    inner = slice(middle - reach, middle + reach + 1)

    def sections() -> Iterator[tuple[slice, Tensor]]:
        for z, data, weight in sums.smoothed(inner.start, inner.stop):
            squares = _squares(side, z, device)
            factor = _at(window, squares) / (weight + _at(regulariser, squares)).clamp(min=1e-20)
            part = slice(z.start - inner.start, z.stop - inner.start)
            yield part, (data * factor)[:, inner, : reach + 1]

    volume = from_low_frequencies(sections(), 2 * reach + 1, box, period)
    # Spreading samples over their neighbours has multiplied the map by one window, sharing the sums
    # among neighbours by another.
    window = gridding_window(box, padding, device) * shared_window(box, padding, device)
    return volume * (box / period**3) / window


def _between_shells(values: Float[Tensor, " s"], side: int, padding: int) -> Float[Tensor, " d"]:
    """Values of shells at each squared distance; steps between shells would ring."""
    distance = _frequencies(side, padding, values.device)
    low = distance.long().clamp(max=len(values) - 2)
    return torch.lerp(values[low], values[low + 1], (distance - low).clamp(0, 1))


def _least(accumulator: Accumulator) -> Float[Tensor, "k s"]:
    """The least regularisation that keeps empty voxels finite."""
    farthest = int(_frequencies(accumulator.side, accumulator.padding, torch.device("cpu"))[-1])
    means = _shell_means(accumulator.weight, accumulator.padding, farthest + 2)
    return (_LEAST * means).float()


def solve(
    accumulator: Accumulator,
    prior_power: Float[Tensor, "k s"] | None,
    box: int,
    radius: float,
) -> Float[Tensor, "k n n n"]:
    """Maximum a posteriori maps: data / (weight + 1 / prior power) in every Fourier voxel.

    Parameters
    ----------
    accumulator : Accumulator
        Complete.
    prior_power : tensor (maps, shells) or None
        Expected power of the map's transform (tau^2) in each shell, in the scale of slices; None
        for the least regularisation that keeps empty voxels finite.
    box : int
        Box of the map in pixels.
    radius : float
        Frequencies beyond it, in steps of 1 / box, are left out.

    Notes
    -----
    Scheres, J. Struct. Biol. 180, 519 (2012), equation 3.
    """
    padding = accumulator.padding
    if prior_power is None:
        inverse = _least(accumulator)
    else:
        prior = prior_power.to(accumulator.weight).clamp(min=1e-20)
        inverse = 1 / (prior * padding**3)
    maps = [
        _map_of(
            _Sums(accumulator.at(number), box),
            _between_shells(own, accumulator.side, padding),
            box,
            radius,
        )
        for number, own in enumerate(inverse)
    ]
    return torch.stack(maps)


def least_squares_maps(
    accumulator: Accumulator, box: int, radius: float
) -> Float[Tensor, "k n n n"]:
    """Maps that explain the slices best, zero outside the ball that fits their box.

    The solution without a prior, and the same again for what that map leaves unexplained: where
    the weight changes steeply, as near the zero frequency, neighbours do not stand for one another.

    Parameters
    ----------
    accumulator : Accumulator
        Complete.
    box : int
        Pixels of the maps.
    radius : float
        Frequencies beyond it, in steps of 1 / box, are left out.
    """
    ball = soft_sphere(box, box / 2 - _EDGE, _EDGE, 3, accumulator.weight.device)
    maps = []
    for number, own in enumerate(_least(accumulator)):
        sums = accumulator.at(number)
        least = _between_shells(own, sums.side, sums.padding)
        estimate = _map_of(_Sums(sums, box), least, box, radius) * ball
        maps.append(estimate + _map_of(_Sums(sums, box, estimate), least, box, radius) * ball)
    return torch.stack(maps)
