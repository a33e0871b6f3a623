"""Whether what was fitted stands out of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from scipy.special import chdtrc
from torch import Tensor

_CHANCE = 1e-3
"""Probability that noise alone reaches as far, below which a finding counts."""


def _verdict(statistic: float, terms: int) -> dict[str, Any]:
    chance = float(chdtrc(terms, statistic))
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


def standing(record: Mapping[str, Any], change: float, error: float) -> str:
    """Whether a change stands above noise, in words: yes, no, or only as a whole.

    Many particles together may tell that something changed, by less than the error of each.

    Parameters
    ----------
    record : mapping
        With the finding of one of the tests, ``significant``.
    change, error : float
        Median change and error of one particle, or micrograph.
    """
    if not record["significant"]:
        return "no"
    return "yes" if change > error else "only taken together: each change is below its own error"


def likelihood_ratio(gain: float, terms: int) -> dict[str, Any]:
    """The same for a rise of the log-likelihood by ``terms`` fitted numbers (Wilks' theorem)."""
    return _verdict(max(0.0, 2 * gain), terms)
