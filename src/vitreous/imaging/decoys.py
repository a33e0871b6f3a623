"""Decoy maps that catch what is no particle of interest: a blob, and noise."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.imaging.filters import low_pass
from vitreous.imaging.masks import soft_sphere
from vitreous.math.fourier import (
    from_half_fourier,
    half_shell_means,
    per_coefficient,
    to_half_fourier,
)


def intensity_scale(volume: Float[Tensor, "n n n"], mask: Float[Tensor, "n n n"]) -> float:
    """Mean density within a mask over the mean beyond it."""
    return float(volume[mask > 0.5].mean() - volume[mask <= 0.5].mean())


def blob(
    box: int, pixel_size: float, radius: float, edge: float, level: float
) -> Float[Tensor, "n n n"]:
    """Centred ball of density ``level`` in nothing, falling off over ``edge`` beyond ``radius``.

    Lengths in angstrom.
    """
    return level * soft_sphere(box, radius / pixel_size, edge / pixel_size)


def noise_like(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    seed: int,
    resolution: float | None = None,
) -> Float[Tensor, "n n n"]:
    """Gaussian noise with the mean of a map and its power in every shell up to Nyquist.

    Parameters
    ----------
    volume : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    seed : int
    resolution : float, optional
        Angstrom, that the noise ends at; by default Nyquist.
    """
    generator = torch.Generator().manual_seed(seed)
    white = to_half_fourier(torch.randn(volume.shape, generator=generator))
    spectrum = to_half_fourier(volume)
    wanted, drawn = half_shell_means(spectrum.abs().square(), white.abs().square())
    gain = (wanted / drawn).sqrt().cpu().numpy()
    spectrum_of_noise = white * per_coefficient(gain, volume.shape[-1])
    spectrum_of_noise[0, 0, 0] = spectrum[0, 0, 0]
    noise = from_half_fourier(spectrum_of_noise)
    return noise if resolution is None else low_pass(noise, pixel_size, resolution)
