"""Phase errors common to many images, fitted to sums over them.

Whatever shifts the argument of the CTF (even aberrations, defocus) or turns the images' phases
(odd ones) by e(k) changes the log-likelihood of white-noise residuals |X - c V|^2 by

    Re sum over k of 2 P(k) exp(-i e) + Q(k) exp(-2 i e)

with sums P, Q that do not depend on e: they are gathered once, and any model of e is fitted to
them afterwards.  Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), sections 2.2 and 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

_STAGES, _FIRST = 8, 0.3
"""Radii that the fit grows through, and the first of them over the last: phases grow with
frequency and would wrap where the inner ones have not been followed."""

_STEPS = 12
"""Gauss-Newton steps at each radius, at most."""

_ENOUGH = 1e-4
"""Change of the phase in radians (root mean square) that ends the steps."""

_HALVINGS = 8
"""Times that a step is halved until the likelihood rises."""


@dataclass(frozen=True)
class PhaseSums:
    """Sums over images at every pixel of half the Fourier plane.

    Attributes
    ----------
    first : complex tensor (..., pixels)
        P above.
    second : complex tensor (..., pixels)
        Q above; zero for odd aberrations.
    information : tensor (..., pixels)
        Fisher information of the phase.
    """

    first: Complex[Tensor, "*b p"]
    second: Complex[Tensor, "*b p"]
    information: Float[Tensor, "*b p"]

    def plus(self, other: PhaseSums) -> PhaseSums:
        """Both sums added."""
        return PhaseSums(
            self.first + other.first,
            self.second + other.second,
            self.information + other.information,
        )

    def cpu(self) -> PhaseSums:
        """The same on the host, where models are fitted to them."""
        return PhaseSums(self.first.cpu(), self.second.cpu(), self.information.cpu())

    def total(self) -> PhaseSums:
        """Sum over the first dimension."""
        return PhaseSums(self.first.sum(0), self.second.sum(0), self.information.sum(0))


@dataclass(frozen=True)
class PhaseFit:
    """Coefficients of a phase model.

    Attributes
    ----------
    values : float64 tensor (terms,)
    information : float64 tensor (terms, terms)
        Inverse of their covariance, from the noise alone.
    gain : float
        Rise of the log-likelihood over no phase error at all.
    """

    values: Float[Tensor, " t"]
    information: Float[Tensor, "t t"]
    gain: float

    @property
    def covariance(self) -> Float[Tensor, "t t"]:
        """Covariance of the values."""
        return torch.linalg.pinv(self.information, hermitian=True)


def even_sums(
    observed: Complex[Tensor, "n p"],
    predicted: Complex[Tensor, "n p"],
    phase: Float[Tensor, "n p"],
) -> PhaseSums:
    """Terms of each image for errors of the CTF's argument.

    Parameters
    ----------
    observed : complex tensor (images, pixels)
        Over the noise's standard deviation.
    predicted : complex tensor (images, pixels)
        Slice of the reference before the CTF, over the same.
    phase : tensor (images, pixels)
        Argument of the CTF's sine.
    """
    power = predicted.abs() ** 2
    turn = torch.polar(torch.ones_like(phase), -phase)
    product = (observed * predicted.conj()).real
    return PhaseSums(1j * turn * product, turn**2 * (power / 2), 2 * power * turn.real**2)


def odd_sums(
    observed: Complex[Tensor, "n p"],
    predicted: Complex[Tensor, "n p"],
    phase: Float[Tensor, "n p"],
) -> PhaseSums:
    """Terms of each image for phases turned by odd aberrations; arguments as of even_sums."""
    model = predicted * torch.sin(phase)
    first = observed * model.conj()
    return PhaseSums(first, torch.zeros_like(first), 2 * model.abs() ** 2)


def gain(sums: PhaseSums, phase: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
    """Log-likelihood of a phase error over that of none."""
    turn = torch.polar(torch.ones_like(phase), -phase)
    rise = 2 * sums.first * (turn - 1) + sums.second * (turn**2 - 1)
    return rise.real.sum(-1, dtype=torch.float64)


def gradient(sums: PhaseSums, phase: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
    """Derivative of the log-likelihood by the phase at every pixel."""
    turn = torch.polar(torch.ones_like(phase), -phase)
    return 2 * (sums.first * turn + sums.second * turn**2).imag


def _climb(sums: PhaseSums, basis: Tensor, values: Tensor, damping: float) -> Tensor:
    """Gauss-Newton steps from ``values``, halved where the likelihood would fall."""
    weighted = basis * sums.information[:, None]
    normal = weighted.T @ basis
    normal = normal + damping * torch.diag(normal.diagonal().clamp(min=1e-30))
    share = float(sums.information.sum().clamp(min=1e-30))
    here = gain(sums, basis @ values)
    for _ in range(_STEPS):
        slope = basis.T @ gradient(sums, basis @ values)
        step = torch.linalg.pinv(normal, hermitian=True) @ slope
        for _ in range(_HALVINGS):
            there = gain(sums, basis @ (values + step))
            if there > here:
                break
            step = step / 2
        else:
            return values
        values, here = values + step, there
        if float((sums.information * (basis @ step) ** 2).sum()) < _ENOUGH**2 * share:
            break
    return values


def fit_phase(
    sums: PhaseSums, basis: Float[Tensor, "p t"], radius: Float[Tensor, " p"]
) -> PhaseFit:
    """Most likely coefficients of a phase that is linear in them.

    Parameters
    ----------
    sums : PhaseSums
        At pixels (p,).
    basis : tensor (pixels, terms)
        Phase of each term with coefficient 1.
    radius : tensor (pixels,)
        Frequency: the fit begins inside three tenths of the largest and grows from there.
    """
    wide = PhaseSums(
        sums.first.to(torch.complex128), sums.second.to(torch.complex128), sums.information.double()
    )
    size = basis.double().abs().amax(dim=0).clamp(min=1e-30)
    scaled = basis.double() / size
    values = torch.zeros(basis.shape[1], dtype=torch.float64)
    for share in torch.linspace(_FIRST, 1, _STAGES).tolist():
        inside = radius <= share * float(radius.max()) * (1 + 1e-6)
        part = PhaseSums(wide.first[inside], wide.second[inside], wide.information[inside])
        # Inner pixels barely tell some terms apart: damped, those wait for the outer ones.
        values = _climb(part, scaled[inside], values, 0.0 if share == 1 else 1.0)
    information = (scaled * wide.information[:, None]).T @ scaled
    outer = size[:, None] * size
    return PhaseFit(values / size, information * outer, float(gain(wide, scaled @ values)))
