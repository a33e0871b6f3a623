"""Half-maps whose signal and noise are known."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from vitreous.io.mrc import write_map
from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.math.gaussians import gaussian_sum

BOX, PIXEL, RADIUS, WIDTH = 96, 1.5, 40.0, 1.2


def white(box: int, seed: int) -> torch.Tensor:
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed))


def decayed(volume: torch.Tensor, b_factor: float, pixel_size: float) -> torch.Tensor:
    """Amplitudes times exp(-B k^2 / 4)."""
    box = volume.shape[-1]
    k = frequency_radius(box, 3) / (box * pixel_size)
    return to_real(to_fourier(volume, 3) * torch.exp(-b_factor / 4 * k**2), 3)


def atoms() -> np.ndarray:
    """Points (x, y, z) at random in a ball, angstrom: their spectrum is flat beyond its shape."""
    points = np.random.default_rng(7).uniform(-RADIUS, RADIUS, size=(8000, 3))
    return points[np.linalg.norm(points, axis=1) < RADIUS]


@cache
def molecule() -> torch.Tensor:
    """Density of the atoms, of standard deviation 1 and B-factor 8 pi^2 WIDTH^2."""
    positions = atoms()
    density = gaussian_sum(positions, np.ones(len(positions)), WIDTH, BOX, PIXEL)
    return density / density.std()


@cache
def halves(noise: float = 1.8) -> tuple[torch.Tensor, torch.Tensor]:
    """The molecule, and white noise in either half."""
    first, second = (molecule() + noise * white(BOX, seed) for seed in (1, 2))
    return first, second


def written(folder: Path, **maps: torch.Tensor) -> dict[str, Path]:
    """Write maps as files of the same names."""
    for name, volume in maps.items():
        write_map(folder / f"{name}.mrc", volume.numpy(), PIXEL)
    return {name: folder / f"{name}.mrc" for name in maps}
