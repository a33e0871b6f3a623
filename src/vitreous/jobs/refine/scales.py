"""Scales of the particles' contrast: how strong each is beside the map's images."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.physics.subtract import Match, particle_scales
from vitreous.search.local import LocalBest

_LEAST = 0.2
"""Least scale; the greatest is its inverse: what lies beyond is no particle."""


def renewed_scales(best: LocalBest, former: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Scales of particles of one half, of mean 1.

    Least-squares scales over the posterior, drawn towards their mean as far as their scatter is
    noise (:func:`vitreous.physics.subtract.particle_scales`).

    Parameters
    ----------
    best : LocalBest
        Its products and powers are those of images scaled by ``former``.
    former : tensor (particles,)
    """
    product, power = (best.product / former).cpu(), (best.power / former**2).cpu()
    power = power.clamp(min=1e-20)
    # Both are over the noise's variance, so the noise in them is 1.
    found = Match(product.double().numpy(), power.double().numpy(), np.ones(len(power)))
    scales = particle_scales(found)
    scales = np.clip(scales / scales.mean(), _LEAST, 1 / _LEAST)
    return torch.from_numpy(scales / scales.mean()).to(former)
