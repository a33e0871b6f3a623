"""Images in Fourier space that no file holds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitreous.particles.loader import Room, TransformCache


def not_made(rows: np.ndarray) -> Tensor:
    raise AssertionError(f"rows {rows} are kept in memory, and not made again")


def cached(samples: Tensor) -> TransformCache:
    """All rows in memory."""
    kept = TransformCache(
        range(len(samples)), samples.shape[1:], not_made, Room(), torch.device("cpu")
    )
    kept.put(np.arange(len(samples)), samples.to(torch.complex64))
    return kept


class NoCtf:
    """Transfer functions that are 1."""

    def at(self, index: Tensor, count: int) -> Tensor:
        return torch.ones(len(index), count)
