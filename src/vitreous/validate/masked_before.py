"""Half-maps that were masked before: told by their noise, and what is left to judge them in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from vitreous.imaging.masks import cosine_edge
from vitreous.math.fourier import frequency_radius

_SILENT = 1e-4
"""Power of the noise, over that elsewhere, below which there is none: 1 % of its amplitude."""

_MARGIN = 4
"""Pixels inside the ball that fits the box: reconstructions may end there."""

_LEAST_SILENT = 0.02
"""Share of that ball without noise from which half-maps were masked."""

MOSTLY_SILENT = 0.5
"""The same from which the envelope is near the molecule, so that it shapes all curves."""

_REACHES = 1e-3
"""Share of a mask outside what the earlier one left whole, from which it must be narrowed."""

_LEVEL, _AHEAD = 0.95, 4
"""The earlier mask's edge ends where the noise is this part of that up to so many pixels deeper."""


@dataclass(frozen=True)
class MaskedBefore:
    """The envelope that half-maps were masked with.

    Attributes
    ----------
    share : float
        Of the box, within the envelope.
    silent : float
        Share of the ball that fits the box, without any noise.
    edge : int
        Width of the envelope's edge, pixels, as the noise rises.
    depth : array (n, n, n)
        Distance of every voxel to the outside, pixels.
    """

    share: float
    silent: float
    edge: int
    depth: Float[np.ndarray, "n n n"]

    def inner(self, edge: float) -> Float[Tensor, "n n n"]:
        """Soft mask within what the envelope left whole; its own ``edge`` is in pixels."""
        # Where little is left, a steep edge is better than none.
        width = min(edge, max(2.0, (float(self.depth.max()) - self.edge) / 2))
        below = self.edge + width - torch.from_numpy(self.depth)
        return cosine_edge(below, 0.0, width).float()

    def touches(self, mask: Float[Tensor, "n n n"]) -> bool:
        """Whether curves within a mask feel the envelope."""
        outside = torch.from_numpy(self.depth <= self.edge)
        reach = float((mask * outside).sum() / mask.sum().clamp(min=1e-20))
        return self.silent > MOSTLY_SILENT or reach > _REACHES


def _edge(power: Float[np.ndarray, "n n n"], depth: Float[np.ndarray, "n n n"]) -> int:
    """Depth in pixels at which the noise no longer rises."""
    inside = depth > 0
    level = depth[inside].astype(np.int64)
    counts = np.maximum(np.bincount(level), 1)
    amplitude = np.sqrt(np.bincount(level, power[inside]) / counts)[1:]
    for place in range(len(amplitude)):
        deeper = amplitude[place + 1 : place + 1 + _AHEAD]
        if not len(deeper) or amplitude[place] >= _LEVEL * deeper.max():
            return place + 1
    return len(amplitude)


def masked_before(
    half1: Float[Tensor, "n n n"], half2: Float[Tensor, "n n n"]
) -> MaskedBefore | None:
    """Find the envelope outside of which two half-maps hold no noise; None without one.

    Noise is half the difference of the maps, which independent halves have everywhere. A mask
    leaves none outside, though what it left there may be any constant, and rises in its edge.
    """
    box = half1.shape[-1]
    power = ((half1 - half2) ** 2).double().cpu().numpy()
    near = ndimage.uniform_filter(power, 3, mode="constant")
    if near.max() <= 0:
        return None
    loud: Bool[np.ndarray, "n n n"] = near > _SILENT * near.max()
    loud = near > _SILENT * np.median(near[loud])
    ball = (frequency_radius(box, 3) < box / 2 - _MARGIN).numpy()
    silent = 1 - float(loud[ball].mean())
    if silent < _LEAST_SILENT:
        return None
    depth = ndimage.distance_transform_edt(loud)
    return MaskedBefore(float(loud.mean()), silent, _edge(power, depth), depth)
