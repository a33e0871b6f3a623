"""Classes that hold hardly any particles are begun anew from large ones."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

_STARVED = 0.2
"""Part of an even share below which a class starves."""


def begun_anew(
    data: Complex[Tensor, "k rings half"],
    weight: Float[Tensor, "k rings half"],
    priors: Float[Tensor, " k"],
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Sums and shares with every starved class a half of the largest class there is.

    The two halves differ by as much as random halves of the particles would: noise of the variance
    that the sums of a half have.

    Returns
    -------
    data, weight, priors : tensors
    count : int
        Classes begun anew.
    """
    classes = len(priors)
    starved = torch.nonzero(priors * classes < _STARVED)[:, 0].tolist()
    if not starved:
        return data, weight, priors, 0
    data, weight, priors = data.clone(), weight.clone(), priors.clone()
    random = torch.Generator().manual_seed(seed)
    for number in starved:
        largest = int(priors.argmax())
        noise = torch.randn(data[0].shape, generator=random, dtype=torch.complex64)
        apart = noise.to(data.device) * (weight[largest] / 4).sqrt()
        data[number], data[largest] = data[largest] / 2 + apart, data[largest] / 2 - apart
        weight[largest] /= 2
        weight[number] = weight[largest]
        priors[largest] = priors[number] = (priors[largest] + priors[number]) / 2
    return data, weight, priors, len(starved)
