"""Local resolution: the FSC of what a window sees, moved over the map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from vitreous.imaging.filters import low_pass_window
from vitreous.imaging.masks import cosine_edge
from vitreous.math.fourier import (
    frequency_radius,
    from_half_fourier,
    good_box,
    half_frequency_radius,
    half_shell_means,
    per_coefficient,
    to_half_fourier,
)

_RESOLUTIONS_A_WINDOW = 7.0
"""Diameter of the window over the global resolution: some 150 independent coefficients there."""

_STEPS_A_WINDOW = 4.0
"""Diameter of the window over the step of the lattice."""

FIRST_SHELL = 2
"""Shell of the window that the curves are read from on: the first holds too few coefficients."""

_BATCH_VOXELS = 1 << 23
"""Voxels of the windows transformed at a time."""

_FILTERS = 16
"""Low-pass filters that a locally filtered map is blended from."""


@dataclass(frozen=True)
class LocalWindow:
    """The window of a local FSC; lengths in pixels.

    Attributes
    ----------
    diameter : float
        Where the window falls to a half.
    side : int
        Edge of the cube that holds it all.
    step : int
        Between the points of the lattice.
    """

    diameter: float
    side: int
    step: int


def local_window(diameter: float) -> LocalWindow:
    """Window of a diameter in pixels, with its cube and lattice."""
    side = good_box(math.ceil(1.5 * diameter) + 2)
    return LocalWindow(diameter, side, max(1, round(diameter / _STEPS_A_WINDOW)))


def default_diameter(resolution: float, pixel_size: float) -> float:
    """Diameter in pixels of the window that suits a global resolution in angstrom."""
    return _RESOLUTIONS_A_WINDOW * resolution / pixel_size


def whitened(
    half1: Float[Tensor, "n n n"], half2: Float[Tensor, "n n n"]
) -> tuple[Float[Tensor, "n n n"], Float[Tensor, "n n n"]]:
    """Both halves divided, shell by shell, by the root of their mean power.

    A window spreads each frequency over its neighbours; under a spectrum that falls a
    thousandfold, low frequencies would spill over the high ones and feign correlation there.
    """
    spectra = [to_half_fourier(half) for half in (half1, half2)]
    power = half_shell_means((spectra[0].abs() ** 2 + spectra[1].abs() ** 2) / 2)[0].cpu().numpy()
    gain = np.where(power > 0, np.maximum(power, 1e-30) ** -0.5, 0.0)
    whitening = per_coefficient(gain, half1.shape[-1], half1.device)
    first, second = (from_half_fourier(spectrum * whitening) for spectrum in spectra)
    return first, second


def lattice(
    inside: Bool[np.ndarray, "n n n"], step: int
) -> tuple[Int[np.ndarray, "p 3"], tuple[int, int, int]]:
    """Points (z, y, x) of a lattice within a region, and the lattice's shape.

    Points are multiples of ``step``; one counts as within if any voxel of its cell is.
    """
    grown = ndimage.maximum_filter(inside, size=step) if step > 1 else inside
    chosen = grown[::step, ::step, ::step]
    return np.argwhere(chosen) * step, chosen.shape


def _shell_members(side: int) -> Float[Tensor, "f s"]:
    """How often each coefficient of a real transform counts in each shell up to Nyquist."""
    shells = half_frequency_radius(side).round().long()
    twice = torch.full_like(shells, 2)
    twice[..., 0] = twice[..., -1] = 1  # its mate is in the half that is kept
    members = torch.zeros(shells.numel(), int(shells.max()) + 1)
    members[torch.arange(shells.numel()), shells.flatten()] = twice.flatten().float()
    return members[:, : side // 2 + 1]


def local_fsc(
    half1: Float[Tensor, "n n n"],
    half2: Float[Tensor, "n n n"],
    points: Int[np.ndarray, "p 3"],
    window: LocalWindow,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float[np.ndarray, "p s"]:
    """FSC of two maps in a soft ball round each point, shells of the window's cube.

    Parameters
    ----------
    half1, half2 : tensors (n, n, n)
        Whitened.
    points : int array (points, 3)
        z, y, x.
    window : LocalWindow
    on_progress : callable
        Told how many points are done, and of how many.
    """
    side, device = window.side, half1.device
    ball = cosine_edge(frequency_radius(side, 3, device), window.diameter / 4, window.diameter / 2)
    members = _shell_members(side).to(device)
    padding = [side // 2, side - side // 2] * 3
    views = [
        torch.nn.functional.pad(half, padding)
        .unfold(0, side, 1)
        .unfold(1, side, 1)
        .unfold(2, side, 1)
        for half in (half1, half2)
    ]
    found, batch = [], max(1, _BATCH_VOXELS // side**3)
    for start in range(0, len(points), batch):
        z, y, x = (torch.from_numpy(c) for c in points[start : start + batch].T.copy())
        # Both halves are cut alike, so the phases of an uncentred transform cancel.
        a, b = (torch.fft.rfftn(view[z, y, x] * ball, dim=(1, 2, 3)).flatten(1) for view in views)
        products = torch.stack([(a * b.conj()).real, a.abs() ** 2, b.abs() ** 2])
        cross, power_a, power_b = products @ members
        found.append((cross / (power_a * power_b).sqrt().clamp(min=1e-30)).cpu().numpy())
        on_progress(min(start + batch, len(points)), len(points))
    return np.concatenate(found)


def spread(
    values: Float[np.ndarray, " p"],
    points: Int[np.ndarray, "p 3"],
    shape: tuple[int, int, int],
    step: int,
    box: int,
) -> Float[Tensor, "n n n"]:
    """Values at points of a lattice, interpolated linearly; beyond them the nearest one's."""
    field = np.full(shape, np.nan)
    field[tuple((points // step).T)] = values
    nearest = ndimage.distance_transform_edt(
        np.isnan(field), return_distances=False, return_indices=True
    )
    filled = torch.from_numpy(field[tuple(nearest)]).float()
    place = (torch.arange(box) / step).clamp(max=shape[0] - 1)
    hats = (1 - (place[:, None] - torch.arange(shape[0])).abs()).clamp(min=0)
    for _ in range(3):  # each time the first axis is interpolated and becomes the last
        filled = torch.tensordot(filled, hats, dims=([0], [1]))
    return filled


def locally_filtered(
    volume: Float[Tensor, "n n n"], frequency: Float[Tensor, "n n n"], pixel_size: float
) -> Float[Tensor, "n n n"]:
    """Map low-passed everywhere at its own frequency.

    Blended linearly from low-passed maps, so that neighbouring voxels never meet a seam.

    Parameters
    ----------
    volume : tensor (n, n, n)
    frequency : tensor (n, n, n)
        1/angstrom.
    pixel_size : float
        Angstrom.
    """
    spectrum, box = to_half_fourier(volume), volume.shape[-1]
    low, high = float(frequency.min()), float(frequency.max())
    place = (frequency - low) / max(high - low, 1e-12) * (_FILTERS - 1)
    blended = torch.zeros_like(volume)
    for number, cut in enumerate(torch.linspace(low, high, _FILTERS).tolist()):
        window = low_pass_window(box, pixel_size, 1 / cut, volume.device)
        share = (1 - (place - number).abs()).clamp(min=0)
        blended += share * from_half_fourier(spectrum * window)
    return blended
