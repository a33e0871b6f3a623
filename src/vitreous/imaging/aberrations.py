"""Aberrations of higher order: Zernike polynomials of the frequency, numbered as RELION does.

Frequencies are in 1/angstrom and not scaled to any radius, so a coefficient of a polynomial of
order n is in radians times angstrom^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Parity = Literal["odd", "even"]


def orders(index: int, parity: Parity) -> tuple[int, int]:
    """Azimuthal and radial order (m, n) of the coefficient at ``index`` of a RELION list.

    Even lists go (0, 0), (-2, 2), (0, 2), (2, 2), (-4, 4) and so on, odd ones (-1, 1), (1, 1),
    (-3, 3), (-1, 3), (1, 3), (3, 3); a negative m stands for the sine.
    """
    if parity == "even":
        row = math.isqrt(index)
        return 2 * (index - row * row - row), 2 * row
    row = (math.isqrt(1 + 4 * index) - 1) // 2
    order = 2 * row + 1
    return 2 * (index - row * (row + 1)) - order, order


def place(m: int, n: int) -> int:
    """Index in its list of the coefficient of (m, n): the inverse of :func:`orders`."""
    row = n // 2
    return row * row + row + m // 2 if n % 2 == 0 else row * (row + 1) + (m + n) // 2


def zernike(m: int, n: int, points: Float[Tensor, "*p 2"]) -> Float[Tensor, "*p"]:
    """Zernike polynomial at points (x, y): R(r) cos(m phi), or R(r) sin(-m phi) for negative m.

    Born & Wolf, Principles of Optics, section 9.2.1, without normalisation.
    """
    x, y = points.unbind(-1)
    order = abs(m)
    wave = torch.complex(x, y) ** order
    square = x**2 + y**2
    lowest = (n - order) // 2
    radial = torch.zeros_like(x)
    for k in range(lowest + 1):
        below = (
            math.factorial(k)
            * math.factorial((n + order) // 2 - k)
            * math.factorial((n - order) // 2 - k)
        )
        radial = radial + (-1) ** k * (math.factorial(n - k) / below) * square ** (lowest - k)
    return radial * (wave.real if m >= 0 else wave.imag)


def zernike_sum(
    points: Float[Tensor, "*p 2"], coefficients: Sequence[float], parity: Parity
) -> Float[Tensor, "*p"]:
    """Phase in radians of the coefficients of a RELION list at points (x, y) in 1/angstrom."""
    total = torch.zeros_like(points[..., 0])
    for index, coefficient in enumerate(coefficients):
        if coefficient:
            total = total + coefficient * zernike(*orders(index, parity), points)
    return total


def added(coefficients: Sequence[float], more: dict[tuple[int, int], float]) -> tuple[float, ...]:
    """Copy of a RELION list with ``more`` added to the coefficients of these (m, n)."""
    places = {place(m, n): value for (m, n), value in more.items()}
    full = [*coefficients, *[0.0] * max(0, max(places, default=-1) + 1 - len(coefficients))]
    return tuple(value + places.get(i, 0.0) for i, value in enumerate(full))
