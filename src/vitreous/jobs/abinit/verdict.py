"""Whether to believe a map: what several independent starts say together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vitreous.validate.reproducibility import Agreement

Word = Literal["solved", "ambiguous", "failed"]

_AGREES = 1.5
"""Starts agree if they do so to this many times the final resolution."""

_HANDED = 1.02
"""A map has a hand if it is unlike its mirror image at this many times the resolution that starts
agree to; neither resolution is finer than the search's own."""

_SORTED = 0.95
"""Share of the particles that starts must put into the same classes."""

_DARK = -5.0
"""Contrast score below which the particles are taken to be dark: five standard errors."""

_SEEN = 5.0
"""Contrast score that particles, unlike noise, reach."""


@dataclass(frozen=True)
class Sorted:
    """How far two starts sort the particles alike.

    Attributes
    ----------
    share : float
        Of the particles, in classes that match.
    rand_index : float
        Adjusted Rand index.
    """

    share: float
    rand_index: float


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on; lists go by the starts that were finished.

    Attributes
    ----------
    starts : list of int
        Their numbers, from 1.
    best : int
        Which of the list is the likeliest.
    pairwise : list of lists of Agreement or None
        How far each start (row) agrees with each other one (column); None for itself.
    log_likelihoods : list of float
        On the same held-out particles under the same noise.
    posed_alike : list of float or None
        Share of the held-out particles that have the same pose as in the likeliest start.
    sorted_alike : list of Sorted or None
        For several classes: against the likeliest start; None for itself.
    own_mirror : float
        Resolution in angstrom down to which the likeliest map (of several classes, the most
        populated) is its own mirror image.
    contrast : float
        Mean density at the particles' place, in standard errors.
    final_resolution : float
        Angstrom.
    """

    starts: list[int]
    best: int
    pairwise: list[list[Agreement | None]]
    log_likelihoods: list[float]
    posed_alike: list[float | None]
    sorted_alike: list[Sorted | None]
    own_mirror: float
    contrast: float
    final_resolution: float

    @property
    def limit(self) -> float:
        """Resolution in angstrom that starts must agree to."""
        return _AGREES * self.final_resolution

    @property
    def with_best(self) -> list[Agreement | None]:
        """How far each start agrees with the likeliest; None for that one itself."""
        return [row[self.best] for row in self.pairwise]

    @property
    def partners(self) -> list[int]:
        """Which of the starts agree with the likeliest."""
        return [
            number
            for number, found in enumerate(self.with_best)
            if found is not None and found.resolution <= self.limit
        ]


@dataclass(frozen=True)
class Verdict:
    """A word, and a sentence that says why.

    Attributes
    ----------
    word : str
        solved, ambiguous or failed.
    sentence : str
    evidence : Evidence
    """

    word: Word
    sentence: str
    evidence: Evidence

    def record(self) -> dict[str, Any]:
        """For result.json."""
        found = asdict(replace(self.evidence, pairwise=[]))
        found["pairwise"] = [
            [a and {"resolution": _finite(a.resolution), "mirrored": a.mirrored} for a in row]
            for row in self.evidence.pairwise
        ]
        found["own_mirror"] = _finite(self.evidence.own_mirror)
        return {"verdict": self.word, "sentence": self.sentence, "evidence": found}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def judge(evidence: Evidence) -> Verdict:
    """Solved, ambiguous or failed.

    Solved takes half of the finished starts, and two at the least, that agree, also on which
    particle belongs to which class; a map with a hand; and particles that are brighter than what
    is round them.  Failed is where no two starts agree, or the particles are dark or not to be
    seen.
    """
    return Verdict(*_judged(evidence), evidence)


def _judged(evidence: Evidence) -> tuple[Word, str]:
    starts, partners = len(evidence.starts), evidence.partners
    if evidence.contrast < _DARK:
        return "failed", (
            "The particles are darker than what is round them: their contrast looks inverted. "
            "Invert the images and run again."
        )
    if evidence.contrast < _SEEN:
        return "failed", (
            "The images hold no density at the particles' place: they may be noise alone."
        )
    if starts == 1:
        return "ambiguous", (
            "Only one random start was made: nothing tells a true map from a false one."
        )
    if not partners:
        return "failed", f"No two of {starts} starts agree to {evidence.limit:.0f} A."
    return _judged_by_partners(evidence, partners)


def _judged_by_partners(evidence: Evidence, partners: list[int]) -> tuple[Word, str]:
    """The word and sentence where some starts agree."""
    starts = len(evidence.starts)
    worst = max(a.resolution for n in partners if (a := evidence.with_best[n]) is not None)
    sentence = f"{len(partners) + 1} of {starts} starts agree to {worst:.0f} A"
    if 2 * (len(partners) + 1) < starts:
        return "ambiguous", f"Only {sentence}; the others found something else."
    if evidence.own_mirror <= _HANDED * worst:
        return "ambiguous", (
            f"{sentence}, but the map is its own mirror image to {evidence.own_mirror:.0f} A: it "
            "may be a false solution, or too coarse to have a hand."
        )
    alike = [s.share for n in partners if (s := evidence.sorted_alike[n]) is not None]
    if alike and min(alike) < _SORTED:
        return "ambiguous", (
            f"{sentence}, but put only {min(alike):.0%} of the particles into the same classes."
        )
    if len(partners) + 1 < starts:
        return "solved", f"{sentence}; the others are less likely."
    return "solved", f"{sentence}."
