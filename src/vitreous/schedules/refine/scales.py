"""Scales of the particles' contrast: how strong each is beside the map's images."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.model import LEAST_SCALE, Residuals
from vitreous.engine.searches.local import LocalPoseEstimates
from vitreous.imaging.subtract import Match, particle_scales


def particle_contrast(
    best: LocalPoseEstimates, former: Float[Tensor, " n"], group: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Scales of particles of one half, of mean 1.

    Least-squares scales over the posterior, drawn towards the mean of their optics group as far as
    their scatter is noise (:func:`vitreous.imaging.subtract.particle_scales`).

    Parameters
    ----------
    best : LocalPoseEstimates
        Its products and powers are those of images scaled by ``former``.
    former : tensor (particles,)
    group : integer tensor (particles,)
    """
    product, power = best.product / former, (best.power / former**2).clamp(min=1e-20)
    scales = np.empty(len(power))
    for number in group.unique():
        own = group == number
        # Both are over the noise's variance, so the noise in them is 1.
        found = Match(
            product[own].double().numpy(), power[own].double().numpy(), np.ones(int(own.sum()))
        )
        scales[own.numpy()] = particle_scales(found)
    scales = np.clip(scales / scales.mean(), LEAST_SCALE, 1 / LEAST_SCALE)
    return torch.from_numpy(scales / scales.mean()).to(former)


def group_contrast(
    results: list[Residuals], former: Float[Tensor, " n"], group: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Scales of all particles, of mean 1, with those of every optics group moved as one."""
    count = len(results[0].count)
    if count == 1:
        return former
    product, power = torch.stack([result.fit.cpu() for result in results]).sum(dim=0).unbind(1)
    factor = torch.where(power > 0, product / power.clamp(min=1e-30), torch.ones(count))
    scales = (former * factor[group].to(former)).clamp(LEAST_SCALE, 1 / LEAST_SCALE)
    return scales / scales.mean()
