"""Running totals that come to the same however often a device makes them."""

from __future__ import annotations

from typing import Final

from jaxtyping import Float
from torch import Tensor

_STEP: Final = 2.0**-40
"""What the totals of a GPU are counted in: far below what single precision tells from 1."""


def running_total(shares: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Sum of each row's shares (of a total near 1) up to and with each of them.

    A GPU adds reals in no fixed order, but whole numbers to the same sum in any.
    """
    if shares.device.type == "cpu":
        return shares.cumsum(dim=1)
    counted = (shares.double() / _STEP).long().cumsum(dim=1)
    return (counted * _STEP).to(shares)
