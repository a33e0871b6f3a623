"""Anisotropic magnification, fitted to sums over images.

Reading a slice V at (1 + d) p instead of p changes it by the gradient of V times d p, which is
linear in the matrix d: Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), section 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor


@dataclass(frozen=True)
class GradientSums:
    """Sums over images at every pixel.

    Attributes
    ----------
    normal : tensor (pixels, 2, 2)
        Products of the slices' derivatives along x and y.
    right : tensor (pixels, 2)
        Products of the derivatives and the residuals.
    """

    normal: Float[Tensor, "p 2 2"]
    right: Float[Tensor, "p 2"]

    def plus(self, other: GradientSums) -> GradientSums:
        """Both sums added."""
        return GradientSums(self.normal + other.normal, self.right + other.right)

    def cpu(self) -> GradientSums:
        """The same on the host, where what follows from them is found."""
        return GradientSums(self.normal.cpu(), self.right.cpu())


def gradient_sums(
    residual: Complex[Tensor, "n p"], derivative: Complex[Tensor, "n p 2"]
) -> GradientSums:
    """Sums over some images.

    Parameters
    ----------
    residual : complex tensor (images, pixels)
        Observed less predicted, over the noise's standard deviation.
    derivative : complex tensor (images, pixels, 2)
        Of the prediction by the frequency it is read at, over the same.
    """
    split = torch.view_as_real(derivative)  # images, pixels, 2, (real, imaginary)
    normal = torch.einsum("npic,npjc->pij", split, split)
    right = torch.einsum("npic,npc->pi", split, torch.view_as_real(residual))
    return GradientSums(2 * normal, 2 * right)


def fit_magnification(
    sums: GradientSums, points: Float[Tensor, "p 2"]
) -> tuple[Float[Tensor, "2 2"], Float[Tensor, "4 4"]]:
    """Matrix d, and the inverse covariance of its elements row by row.

    Parameters
    ----------
    sums : GradientSums
    points : tensor (pixels, 2)
        Frequencies that the slices were read at, in the unit of the derivatives.
    """
    p, normal, right = points.double(), sums.normal.double(), sums.right.double()
    information = torch.einsum("pik,pj,pl->ijkl", normal, p, p).reshape(4, 4)
    slope = torch.einsum("pi,pj->ij", right, p).reshape(4)
    return torch.linalg.solve(information, slope).view(2, 2), information
