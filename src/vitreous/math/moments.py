"""Where the density of a map lies."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def centre_of_mass(volume: Float[Tensor, "z y x"], threshold: float = 0.0) -> Float[Tensor, " 3"]:
    """Mean place (x, y, z) in pixels from the centre, weighted by what exceeds ``threshold``.

    NaN where nothing does.
    """
    weight = (volume - threshold).clamp(min=0).double()
    total = weight.sum()
    places = []
    for axis, n in enumerate(volume.shape):
        line = weight.sum(dim=tuple(other for other in range(3) if other != axis))
        position = torch.arange(n, dtype=torch.float64) - n // 2
        places.append((line * position).sum() / total)
    return torch.stack(places[::-1])
