"""What is particular to the page of one job, and how its numbers are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Result = dict[str, Any]
"""What ``result.json`` holds."""

Facts = list[tuple[str, str, str]]
"""Name, value, remark."""


@dataclass(frozen=True)
class ReportPage:
    """What is particular to the page of one job.

    Attributes
    ----------
    title : str
        One sentence: what was found.
    facts : list
        Name, value, remark.
    sections : list of str
        HTML.
    files : dict
        What each file is, by names or patterns such as ``class*.mrc``.
    lead : str
        What a reader must know first, in a sentence or two.
    """

    title: str
    facts: Facts
    sections: list[str]
    files: dict[str, str]
    lead: str = ""


def angstrom(value: float | None) -> str:
    """A resolution as people read it."""
    return "not reached" if value is None else f"{value:.2f} Å"


def numbers(values: list[float | None]) -> Float[np.ndarray, " s"]:
    """Numbers of ``result.json``, where infinity became null."""
    return np.array([np.nan if value is None else value for value in values])
