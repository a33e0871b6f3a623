"""Many small estimates of like quantities, each drawn towards their common mean by its noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDS = 200
"""Rounds of EM, at most."""

_SETTLED = 1e-4
"""Relative change of the spread that ends them."""


@dataclass(frozen=True)
class Shrunk:
    """Posterior of the quantities under a normal prior fitted to all of them.

    Attributes
    ----------
    values, errors : tensors (items, terms)
        Means and standard deviations.
    mean, spread : tensors (terms,)
        Of the prior.
    """

    values: Float[Tensor, "n t"]
    errors: Float[Tensor, "n t"]
    mean: Float[Tensor, " t"]
    spread: Float[Tensor, " t"]


def shrink(estimates: Float[Tensor, "n t"], information: Float[Tensor, "n t t"]) -> Shrunk:
    """Posterior means of estimates with a common mean and spread, found by EM (empirical Bayes).

    Parameters
    ----------
    estimates : tensor (items, terms)
    information : tensor (items, terms, terms)
        Inverse covariance of each.

    Notes
    -----
    Efron & Morris, J. Am. Stat. Assoc. 70, 311 (1975), with the spread by maximum likelihood.
    """
    known = (information @ estimates[..., None])[..., 0]
    # A single item has no spread to learn from: the prior is then as wide as the estimate.
    mean = estimates.mean(dim=0) if len(estimates) > 1 else torch.zeros_like(estimates[0])
    variance = ((estimates - mean) ** 2).mean(dim=0).clamp(min=1e-12)
    for _ in range(_ROUNDS):
        covariance = torch.linalg.inv(information + torch.diag(1 / variance))
        values = (covariance @ (known + mean / variance)[..., None])[..., 0]
        doubt = covariance.diagonal(dim1=-2, dim2=-1)
        if len(estimates) == 1:
            break
        mean, before = values.mean(dim=0), variance
        variance = ((values - mean) ** 2 + doubt).mean(dim=0).clamp(min=1e-12)
        if bool(((variance / before - 1).abs() < _SETTLED).all()):
            break
    return Shrunk(values, doubt.sqrt(), mean, variance.sqrt())
