"""What a check of the input found, and what it would do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    level : str
        ``error``: the job would make nothing of use, and stops.  ``warning``: goes to the report.
        ``note``: good to know.
    code : str
        Short and stable, for scripts: ``inverted-contrast``.
    what : str
        The finding in a few words.
    evidence : str
        A sentence with the figures that it rests on.
    hint : str
        How to put it right, as an imperative sentence.
    """

    level: Level
    code: str
    what: str
    evidence: str
    hint: str

    def line(self) -> str:
        """All of it on one line."""
        return f"{self.what}: {self.evidence} {self.hint[:1].upper()}{self.hint[1:]}."

    def record(self) -> dict[str, Any]:
        """For result.json."""
        return asdict(self)


_NAMED = 3
"""Rows that a finding names, of all that it is about."""


def named(rows: Sequence[int] | np.ndarray, name: Callable[[int], str]) -> str:
    """The first of some rows by name, and how many more there are."""
    shown = ", ".join(name(int(row)) for row in rows[:_NAMED])
    return shown if len(rows) <= _NAMED else f"{shown} and {len(rows) - _NAMED} more"
