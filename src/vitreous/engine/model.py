"""What particles are compared with, and how a pass over them renews it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_SCALE = 0.2
"""Least contrast of an image or an optics group beside others; the greatest is its inverse: what
lies beyond is no particle."""


@dataclass(frozen=True)
class Model:
    """What images are compared with.

    Attributes
    ----------
    maps : tensor (maps, n, n, n)
        In the working box.
    noise : tensor (groups, rings)
        Expected noise power of each optics group at a frequency.
    class_priors : tensor (maps,)
        Prior probability of each map.
    """

    maps: Float[Tensor, "k n n n"]
    noise: Float[Tensor, "g rings"]
    class_priors: Float[Tensor, " k"]


@dataclass(frozen=True)
class ScaledModel(Model):
    """The same beside what optics groups differ in.

    Attributes
    ----------
    scale : tensor (groups,)
        Contrast of the optics groups' images beside each other.
    """

    scale: Float[Tensor, " g"]


def of_one_map(volume: Float[Tensor, "n n n"], noise: Float[Tensor, "g rings"]) -> Model:
    """A single map under these noise spectra."""
    return Model(volume[None], noise, torch.ones(1, device=volume.device))


class Residuals(Protocol):
    """What a pass tells of the noise."""

    @property
    def residual(self) -> Float[Tensor, "g rings"]:
        """Expected squared residual at a frequency, summed over the group's particles."""

    @property
    def count(self) -> Float[Tensor, " g"]:
        """Particles seen of each optics group."""

    @property
    def fit(self) -> Float[Tensor, "g 2"]:
        """Expected product of images and maps, and power of the maps, over the noise's."""


def renewed_noise(
    noise: Float[Tensor, "g rings"], result: Residuals, mask_share: float, rate: float
) -> Float[Tensor, "g rings"]:
    """Noise spectra moved towards the residuals of a pass, on the rings it used.

    The mask removes noise power in proportion to its mean square, so the residual is divided by
    that share: the spectrum is that of the unmasked images.
    """
    rings = result.residual.shape[1]
    renewed = noise.clone()
    for group in torch.nonzero(result.count)[:, 0].tolist():
        found = result.residual[group] / (result.count[group] * mask_share)
        found = torch.maximum(found, 0.05 * noise[group, :rings])
        # The group's pixels may not hold the last rings: nothing is left there, nor was anything.
        found = torch.where(result.residual[group] == 0, noise[group, :rings], found)
        renewed[group, :rings] += rate * (found - noise[group, :rings])
    return renewed


def renewed_scale(
    scale: Float[Tensor, " g"], result: Residuals, rate: float
) -> Float[Tensor, " g"]:
    """Contrast of the optics groups moved towards what fits a pass's images best, 1 on the average.

    Least squares over the posterior: Scheres, J. Struct. Biol. 180, 519 (2012), section 2.2.
    """
    if len(scale) == 1:
        return scale
    product, power = result.fit.unbind(1)
    found = torch.where(power > 0, scale * product / power.clamp(min=1e-30), scale)
    moved = (scale + rate * (found - scale)).clamp(LEAST_SCALE, 1 / LEAST_SCALE)
    return moved * result.count.sum() / (moved * result.count).sum()
