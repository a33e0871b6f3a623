"""The in-plane shifts that a search visits."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def shift_grid(reach: float, step: float) -> Float[Tensor, "t 2"]:
    """Origins (x, y) on a square lattice of ``step`` pixels within a disc of radius ``reach``.

    Those nearest the centre come first: the best is found early, and what follows may be skipped.
    """
    count = int(reach / step + 1e-6) if step > 0 else 0
    axis = torch.arange(-count, count + 1, dtype=torch.float32) * step
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    lattice = torch.stack([x.reshape(-1), y.reshape(-1)], dim=-1)
    distance = lattice.norm(dim=1)
    order = distance.argsort(stable=True)
    return lattice[order][distance[order] <= reach + 1e-6]


def shift_cells(reach: float, step: float) -> float:
    """How many cells of a shift lattice fill a disc: one at the least."""
    return max(1.0, math.pi * (reach / step) ** 2)
