"""Whether what was fitted stands out of the noise."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from scipy.stats import chi2
from torch import Tensor

_CHANCE = 1e-3
"""Probability that noise alone reaches as far, below which a finding counts."""


def _verdict(statistic: float, terms: int) -> dict[str, Any]:
    chance = float(chi2.sf(statistic, terms))
    return {"chi_squared": statistic, "chance": chance, "significant": chance < _CHANCE}


def wald(values: Float[Tensor, " t"], information: Float[Tensor, "t t"]) -> dict[str, Any]:
    """Chi-squared, its chance under noise alone and whether that is small, by Wald's test.

    Parameters
    ----------
    values : tensor (terms,)
    information : tensor (terms, terms)
        Inverse of their covariance.
    """
    return _verdict(float(values @ information @ values), len(values))


def likelihood_ratio(gain: float, terms: int) -> dict[str, Any]:
    """The same for a rise of the log-likelihood by ``terms`` fitted numbers (Wilks' theorem)."""
    return _verdict(max(0.0, 2 * gain), terms)
