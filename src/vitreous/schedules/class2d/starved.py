"""Classes that hold few particles are begun anew from large ones, before they starve."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

STARVED = 0.2
"""Part of an even share below which a class has starved."""

_SMALL = 0.4
"""Part of an even share below which a class is begun anew: what is left of it rarely recovers."""


def begun_anew(
    data: Complex[Tensor, "k rings half"],
    weight: Float[Tensor, "k rings half"],
    shares: Float[Tensor, " k"],
    seed: int,
) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Sums with every small class a half of the largest class there is.

    The two halves differ by as much as random halves of the particles would: noise of the variance
    that the sums of a half have.

    Returns
    -------
    data, weight : tensors
    pairs : list of pairs of int
        Each class begun anew, and the one that it is half of.
    """
    small = torch.nonzero(shares * len(shares) < _SMALL)[:, 0].tolist()
    data, weight, left, pairs = data.clone(), weight.clone(), shares.clone(), []
    random = torch.Generator().manual_seed(seed)
    for number in small:
        largest = int(left.argmax())
        noise = torch.randn(data[0].shape, generator=random, dtype=torch.complex64)
        apart = noise.to(data.device) * (weight[largest] / 4).sqrt()
        data[number], data[largest] = data[largest] / 2 + apart, data[largest] / 2 - apart
        weight[largest] /= 2
        weight[number] = weight[largest]
        left[largest] /= 2
        left[number] = left[largest]
        pairs.append((number, largest))
    return data, weight, pairs
