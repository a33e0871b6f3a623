"""Which class averages are worth keeping, by what is measured of them, with the reason in words.

Nothing is learnt from labels.  Most particles are taken to be good, and a class is judged by how it
differs from the classes that hold most particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Decision = Literal["keep", "doubtful", "reject"]

Kind = Literal["particle", "noise", "ice", "edge", "several", "off-centre", "empty"]

KINDS: Final[dict[Kind, str]] = {
    "particle": "particle",
    "noise": "noise",
    "ice": "ice or contaminant",
    "edge": "edge or carbon",
    "several": "several particles",
    "off-centre": "off-centre",
    "empty": "empty",
}
"""Kinds in words."""


@dataclass(frozen=True)
class AverageMeasures:
    """What is measured of a class average.

    Attributes
    ----------
    number : int
        From 1.
    particles : int
    evidence : float
        Mean log-evidence of its particles against an empty class, nats.
    resolution : float or None
        Where halves agree to an FSC of 0.5, angstrom; None if nowhere.
    strength : float
        Signal's power over the noise's in one image, at low resolution.
    detail : float
        The same at high resolution.
    misfit : float
        Power at low resolution that the average leaves unexplained in its images, over the noise's.
    offset : float
        Of the centre of mass from the centre, over the mask's radius.
    rim : float
        Mean density in the outer fifth of the mask, over that within.
    slope : float
        Part of the density's variance that a plane explains.
    likeness : float
        Correlation with the most similar other average, over rotation and mirror.
    """

    number: int
    particles: int
    evidence: float
    resolution: float | None
    strength: float
    detail: float
    misfit: float
    offset: float
    rim: float
    slope: float
    likeness: float


@dataclass(frozen=True)
class AverageJudgement:
    """What becomes of a class, and why.

    Attributes
    ----------
    measures : AverageMeasures
    score : float
        From 0 (junk) to 1.
    decision : {"keep", "doubtful", "reject"}
    kind : str
        What it shows.
    reason : str
        In words.
    """

    measures: AverageMeasures
    score: float
    decision: Decision
    kind: Kind
    reason: str


_EMPTY = 0.05
"""Part of an even share of the particles below which a class is empty."""

_FEWEST = 3
"""Particles that make an average."""

_NO_EVIDENCE = 1.0
"""Nats a particle below which an average explains no more than an empty one does."""


def _score(measures: AverageMeasures, typical: float) -> float:
    """How much of the detail that is typical a class shows, from 0 to 1."""
    return float(np.clip(measures.detail / max(typical, 1e-12), 0, 1))


def judge(averages: Sequence[AverageMeasures], *, nothing: bool) -> list[AverageJudgement]:
    """What becomes of each class, in the order given.

    ``nothing`` says that no average explains particles that it has not seen.
    """
    even = sum(one.particles for one in averages) / max(len(averages), 1)
    sound = [one for one in averages if one.evidence >= _NO_EVIDENCE and one.particles >= _FEWEST]
    typical = float(np.median([one.detail for one in sound])) if sound else 1.0

    def judged(one: AverageMeasures) -> AverageJudgement:
        if one.particles < max(_EMPTY * even, _FEWEST):
            reason = f"{one.particles} particles are too few for an average"
            return AverageJudgement(one, 0.0, "reject", "empty", reason)
        if nothing or one.evidence < _NO_EVIDENCE:
            reason = "its images hold nothing that the average explains"
            return AverageJudgement(one, 0.0, "reject", "noise", reason)
        return AverageJudgement(one, _score(one, typical), "keep", "particle", "like most others")

    return [judged(one) for one in averages]
