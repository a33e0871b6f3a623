"""Whether to believe a map: what several independent starts say together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from vitreous.validate.reproducibility import Agreement, agreement, agreement_with_mirror

Volume = Float[Tensor, "n n n"]
Word = Literal["solved", "ambiguous", "failed"]

_AGREES = 1.5
"""Starts agree if they do so to this many times the final resolution."""

_HANDED = 1.1
"""A map has a hand if it is unlike its mirror image at this many times the resolution that starts
agree to."""

_DARK = -5.0
"""Contrast score below which the particles are taken to be dark: five standard errors."""

_SEEN = 5.0
"""Contrast score that particles, unlike noise, reach."""


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on.

    Attributes
    ----------
    with_best : list of Agreement or None
        How far each start agrees with the likeliest; None for that one itself.
    log_likelihoods : list of float
        Of each start, on the same particles under the same noise.
    own_mirror : float
        Resolution in angstrom down to which the likeliest map (of several classes, the most
        populated) is its own mirror image.
    contrast : float
        Mean density at the particles' place, in standard errors.
    final_resolution : float
        Angstrom.
    """

    with_best: list[Agreement | None]
    log_likelihoods: list[float]
    own_mirror: float
    contrast: float
    final_resolution: float

    @property
    def limit(self) -> float:
        """Resolution in angstrom that starts must agree to."""
        return _AGREES * self.final_resolution

    @property
    def partners(self) -> list[Agreement]:
        """Starts that agree with the likeliest."""
        return [a for a in self.with_best if a is not None and a.resolution <= self.limit]


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
        found = asdict(self.evidence)
        found["with_best"] = [
            None if a is None else {"resolution": _finite(a.resolution), "mirrored": a.mirrored}
            for a in self.evidence.with_best
        ]
        found["own_mirror"] = _finite(self.evidence.own_mirror)
        return {"verdict": self.word, "sentence": self.sentence, "evidence": found}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _worst_of_classes(
    maps: list[Volume], best: list[Volume], mask: Volume, pixel_size: float
) -> Agreement:
    """How far every class of the likeliest start has its like among those of another."""
    nearest = [
        min((agreement(one, wanted, mask, pixel_size) for one in maps), key=lambda a: a.resolution)
        for wanted in best
    ]
    return max(nearest, key=lambda a: a.resolution)


def gather_evidence(
    maps: list[list[Volume]],
    log_likelihoods: list[float],
    mask: Volume,
    pixel_size: float,
    contrast: float,
    final_resolution: float,
) -> Evidence:
    """Compare the maps of all starts with the likeliest ones, and these with their mirror images.

    Parameters
    ----------
    maps : list of lists of tensors (n, n, n)
        For each start its classes, the most populated first.
    log_likelihoods : list of float
    mask : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    contrast : float
        See :func:`vitreous.jobs.preflight.contrast_score`.
    final_resolution : float
        Angstrom.
    """
    best = max(range(len(maps)), key=lambda i: log_likelihoods[i])
    with_best = [
        None if number == best else _worst_of_classes(classes, maps[best], mask, pixel_size)
        for number, classes in enumerate(maps)
    ]
    own = math.inf  # a single start is not judged by it
    if len(maps) > 1:
        own = agreement_with_mirror(maps[best][0], mask, pixel_size)
    return Evidence(with_best, log_likelihoods, own, contrast, final_resolution)


def judge(evidence: Evidence) -> Verdict:
    """Solved, ambiguous or failed.

    Solved takes half of the starts, and two at the least, that agree; a map with a hand; and
    particles that are brighter than what is round them.  Failed is where no two starts agree, or
    the particles are dark or not to be seen.
    """
    starts, partners = len(evidence.with_best), evidence.partners
    if evidence.contrast < _DARK:
        word: Word = "failed"
        sentence = (
            "The particles are darker than what is round them: their contrast looks inverted. "
            "Invert the images and run again."
        )
    elif evidence.contrast < _SEEN:
        word = "failed"
        sentence = "The images hold no density at the particles' place: they may be noise alone."
    elif starts == 1:
        word = "ambiguous"
        sentence = "Only one random start was made: nothing tells a true map from a false one."
    elif not partners:
        word = "failed"
        sentence = f"No two of {starts} starts agree to {evidence.limit:.0f} A."
    else:
        worst = max(partner.resolution for partner in partners)
        sentence = f"{len(partners) + 1} of {starts} starts agree to {worst:.0f} A"
        if 2 * (len(partners) + 1) < starts:
            word, sentence = "ambiguous", f"Only {sentence}; the others found something else."
        elif evidence.own_mirror <= _HANDED * worst:
            word = "ambiguous"
            sentence += (
                f", but the map is its own mirror image to {evidence.own_mirror:.0f} A: it may be "
                "a false solution, or too coarse to have a hand."
            )
        else:
            word = "solved"
            sentence += "." if len(partners) + 1 == starts else "; the others are less likely."
    return Verdict(word, sentence, evidence)
