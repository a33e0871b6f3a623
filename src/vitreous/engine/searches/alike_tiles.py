"""Images dealt into tiles such that those of a tile try nearly the same references."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_WINDOW = 512
"""Images among which those of a tile are chosen: the time this takes grows with their number."""

_COLUMNS = 512
"""Runs of neighbouring references, at most, that images are compared by."""


def alike_tiles(allowed: Bool[Tensor, "n d"], size: int) -> list[Int[Tensor, " m"]]:
    """Tiles of images that try few references together.

    A tile begins with the image that tries the fewest; the next is always the one that adds the
    fewest.  Images that try many references, which would make all others of a tile try them too,
    come last and share tiles of their own.

    Parameters
    ----------
    allowed : bool tensor (images, references)
        References that each image tries.
    size : int
        Images in a tile.

    Returns
    -------
    list of integer tensors (size,)
        Numbers of the images; the last tile of a window may hold fewer.
    """
    runs = np.arange(0, allowed.shape[1], -(-allowed.shape[1] // _COLUMNS))
    tiles, window = [], size * max(1, _WINDOW // size)
    for first in range(0, len(allowed), window):
        tried = allowed[first : first + window].cpu().numpy()
        tried = np.logical_or.reduceat(tried, runs, axis=1).astype(np.float32)
        left = np.arange(len(tried))
        while len(left):
            tile = _alike(tried[left], size)
            tiles.append(torch.from_numpy(first + left[tile]).to(allowed.device))
            left = np.delete(left, tile)
    return tiles


def _alike(tried: Float[np.ndarray, "n c"], size: int) -> list[int]:
    """The image that tries the fewest references, and those that then add the fewest."""
    tile: list[int] = []
    together, added = np.zeros(tried.shape[1], np.float32), tried.sum(axis=1)
    while len(tile) < min(size, len(tried)):
        tile.append(int(added.argmin()))
        new = tried[tile[-1]] * (1 - together)
        together += new
        added -= tried @ new
        added[tile] = np.inf
    return tile
