"""Memory that is used again for every tile."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Scratch:
    """Buffers by name, for one worker: fresh memory would cost a page fault every 4 kB.

    Parameters
    ----------
    dtype : torch.dtype
    device : torch.device
    """

    def __init__(self, dtype: torch.dtype, device: torch.device):
        self.dtype, self.device = dtype, device
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Uninitialised tensor; what an earlier call gave under the same name is lost."""
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].numel() < size:
            self._kept[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        return self._kept[name][:size].view(shape)
