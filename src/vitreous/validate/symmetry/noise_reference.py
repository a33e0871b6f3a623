"""The noise in a map: how strong, and how far it lets a true symmetry correlate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.fourier import (
    frequency_radius,
    shell_index,
    shell_mean,
    to_fourier,
    to_real,
)
from vitreous.validate.symmetry.angular_orders import Shells, shell_power
from vitreous.validate.symmetry.self_correlation import Placement, varying_power

_LEAST_SOLVENT = 0.02
"""Share of the box that must lie outside the mask to measure noise there."""

_SILENT = 1e-3
"""Variance outside the mask, over the mean square inside, below which it was masked away."""


def solvent_noise(
    volume: Float[Tensor, "n n n"], mask: Float[Tensor, "n n n"], side: int, seed: int = 0
) -> Float[Tensor, "s s s"] | None:
    """Random map of ``side`` voxels with the spectrum of what lies outside a mask.

    None where next to nothing lies outside, or where it is all but empty: a masked map does not
    show its noise.
    """
    outside = 1 - mask
    share = float(outside.square().mean())
    if share < _LEAST_SOLVENT:
        return None
    solvent = (volume - (volume * outside).sum() / outside.sum()) * outside
    if float(solvent.square().mean()) < _SILENT * share * float((volume * mask).square().mean()):
        return None
    box = volume.shape[-1]
    power = shell_mean(
        to_fourier(solvent, 3).abs().square() / share,
        shell_index(box, 3, volume.device),
        box // 2 + 1,
    )
    white = torch.randn((side,) * 3, generator=torch.Generator().manual_seed(seed))
    frequency = frequency_radius(side, 3) * (box / side)
    amplitude = np.interp(frequency.numpy(), np.arange(len(power)), power.sqrt().cpu().numpy())
    spectrum = to_fourier(white.to(volume), 3)
    return to_real(spectrum * torch.from_numpy(amplitude).to(volume), 3)


@dataclass(frozen=True)
class NoiseReference:
    """A map and one of noise as strong as the noise in it.

    Attributes
    ----------
    total, noise : Shells
    """

    total: Shells
    noise: Shells

    def shares(self, centre: Float[Tensor, " 3"]) -> Float[Tensor, " k"]:
        """Share of signal in all that differs from the shells' means."""
        total, noise = (shell_power(part, centre)[1] for part in (self.total, self.noise))
        return (1 - noise / total.clamp(min=1e-30)).clamp(0, 1)

    def signal_share(self, group: str, placement: Placement) -> Float[Tensor, " k"]:
        """Share of signal in what a group is judged by, shell by shell.

        Symmetry mates carry the same signal S under noise N of their own, so that a true symmetry
        correlates to S / (S + N); with half-maps that is 2 FSC / (1 + FSC).
        """
        total, noise = (varying_power(part, group, placement) for part in (self.total, self.noise))
        return (1 - noise / total.clamp(min=1e-30)).clamp(0, 1)
