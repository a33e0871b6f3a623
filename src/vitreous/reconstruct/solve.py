"""From accumulated slices to a map: the Wiener-type solve with gridding correction."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vitreous.imaging.masks import cosine_edge
from vitreous.imaging.project import FourierCube, cube_to_map
from vitreous.math.fourier import low_frequencies, shell_mean
from vitreous.ops import cubes
from vitreous.reconstruct.insert import Accumulator


@lru_cache(maxsize=4)
def _squares(side: int, device: torch.device) -> Int[Tensor, "s s s"]:
    """Squared distance of every voxel of a cube from its middle, voxels."""
    axis = (torch.arange(side, device=device, dtype=torch.int32) - side // 2) ** 2
    return axis[:, None, None] + axis[:, None] + axis


def _frequencies(side: int, padding: int, device: torch.device) -> Float[Tensor, " d"]:
    """Frequency in steps of 1 / box of each squared distance that a cube's voxels can have."""
    return torch.arange(3 * (side // 2) ** 2 + 1, device=device).sqrt() / padding


def _at_voxels(values: Shaped[Tensor, "*k d"], side: int) -> Shaped[Tensor, "*k s s s"]:
    """Values of each squared distance, at every voxel."""
    squares = _squares(side, values.device)
    return values.index_select(-1, squares.flatten()).unflatten(-1, (side, side, side))


def _shells(side: int, padding: int, device: torch.device) -> Int[Tensor, "s s s"]:
    """Shell of every voxel."""
    return _at_voxels(_frequencies(side, padding, device).round().long(), side)


def shell_information(accumulator: Accumulator, shells: int) -> Float[Tensor, "k s"]:
    """Mean inverse noise variance of one Fourier voxel of the map's own box, in each shell.

    A voxel of the box owns padding^3 voxels of the cube, and the samples of all of them.
    """
    side, padding = accumulator.weight.shape[-1], accumulator.padding
    index = _shells(side, padding, accumulator.weight.device)
    means = [shell_mean(weight, index, shells) for weight in accumulator.weight]
    return torch.stack(means) * padding**3


def map_power(volume: Float[Tensor, "k n n n"], shells: int) -> Float[Tensor, "k s"]:
    """Mean power in each shell of maps' transforms, in the scale of slices."""
    box = volume.shape[-1]
    side = min(2 * shells + 1, box - 1 + box % 2)
    index = _shells(side, 1, volume.device)
    power = low_frequencies(volume, side, box).abs() ** 2 / box**2
    return torch.stack([shell_mean(p, index, shells) for p in power])


def shared_window(box: int, padding: int, device: torch.device) -> Float[Tensor, "n n n"]:
    """What :func:`vitreous.ops.cubes.smooth` multiplies the map by."""
    axis = (torch.arange(box, device=device) - box // 2) / (box * padding)
    line = torch.cos(torch.pi * axis) ** 4
    return line[:, None, None] * line[:, None] * line


def solve(
    accumulator: Accumulator,
    prior_power: Float[Tensor, "k s"] | None,
    box: int,
    radius: float,
) -> Float[Tensor, "k n n n"]:
    """Maximum a posteriori map: data / (weight + 1 / prior power) in every Fourier voxel.

    Neighbouring voxels of the oversampled cube hold one and the same coefficient of the map:
    data and weight are first shared among them, so that each counts by its information.

    Parameters
    ----------
    accumulator : Accumulator
        With both Friedel mates.
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
    side, padding = accumulator.weight.shape[-1], accumulator.padding
    # All that depends on the frequency alone is found once for each that a voxel can have.
    distance = _frequencies(side, padding, accumulator.weight.device)
    information = shell_information(accumulator, int(distance[-1]) + 2)
    if prior_power is None:
        prior = 1e3 / information.clamp(min=1e-20)
    else:
        last = prior_power[:, -1:].expand(-1, max(0, information.shape[1] - prior_power.shape[1]))
        prior = torch.cat([prior_power.to(information), last.to(information)], dim=1)
    inverse = (1 / (prior.clamp(min=1e-20) * padding**3)).float()
    # The prior varies smoothly with frequency: steps between shells would ring.
    low = distance.long().clamp(max=inverse.shape[1] - 2)
    regulariser = torch.lerp(inverse[:, low], inverse[:, low + 1], (distance - low).clamp(0, 1))
    window = cosine_edge(distance, radius - 0.5, 1.0)
    weight = cubes.smooth(accumulator.weight) + _at_voxels(regulariser, side)
    factor = _at_voxels(window, side) / weight.clamp(min=1e-20)
    spectrum = cubes.smooth(accumulator.data) * factor
    volume = cube_to_map(FourierCube(spectrum, padding), box)
    return volume / shared_window(box, padding, volume.device)
