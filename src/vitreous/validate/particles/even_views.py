"""Views evened out: of those that crowd some directions, the best are kept."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.math.rotations import view_direction
from vitreous.math.so3 import healpix_axes
from vitreous.math.symmetry import asymmetric_unit

_ORDER = 2
"""HEALPix order of the directions that views are counted in: 192, 15 degrees apart."""

_ROWS = 1 << 15
"""Views looked at at a time."""


def view_numbers(
    rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"], operators: Float[Tensor, "s 3 3"]
) -> Int[np.ndarray, " n"]:
    """Number of the direction that each view is nearest to, over one asymmetric unit.

    Views from opposite sides count as one, as they show the same slice of Fourier space.

    Parameters
    ----------
    rot, tilt : arrays (n,)
        Degrees.
    operators : tensor (s, 3, 3)
        Rotations of the point group.
    """
    both = torch.cat([operators, -operators])
    axes = healpix_axes(_ORDER)
    axes = axes[asymmetric_unit(axes, both)]
    mates = (both @ axes.T).movedim(0, 1).flatten(1).float()  # 3, operators x directions
    views = view_direction(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (rot, tilt)))
    nearest = [(rows @ mates).argmax(dim=1) % len(axes) for rows in views.float().split(_ROWS)]
    return torch.cat(nearest).numpy()


def evened(
    view: Int[np.ndarray, " n"], merit: Float[np.ndarray, " n"], share: float, seed: int
) -> Int[np.ndarray, " m"]:
    """Rows, in order, of which no direction has more than most directions have.

    Parameters
    ----------
    view : int array (particles,)
        Direction of each.
    merit : array (particles,)
        The best of a direction are kept; of equal ones some at random.
    share : float
        Share of the directions with views, from 0 to 1, that have no more than are kept of any:
        0.5 cuts all down to the median.
    seed : int
    """
    counts = np.unique(view, return_counts=True)[1]
    most = max(1, int(np.quantile(counts, share, method="lower")))
    chance = np.random.default_rng(seed).permutation(len(view))
    order = np.lexsort((chance, -merit, view))
    first = np.concatenate([[0], np.cumsum(np.bincount(view))])[view[order]]
    place = np.arange(len(view)) - first
    return np.sort(order[place < most])
