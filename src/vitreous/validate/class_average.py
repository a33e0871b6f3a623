"""Which class averages are worth keeping, by what is measured of them, with the reason in words.

Nothing is learnt from labels.  Most particles are taken to be good, and a class is judged by how it
differs from the classes that hold most particles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Decision = Literal["keep", "doubtful", "reject"]

Kind = Literal["particle", "noise", "ice", "edge", "several", "off-centre", "empty"]


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


_SPREADS = 4.0
"""Standard deviations, of classes by their particles, from which one is unlike the others."""

_DETAIL, _STRENGTH = 0.25, 2.2
"""Detail over that of most particles' classes below which a class is featureless, and strength
over it from which its density is none of theirs."""

_OFFSET, _SLOPE = 0.2, 0.1
"""Offset and slope that no centred particle shows."""

_LEAST_RIM, _LEAST_MISFIT = 0.12, 0.45
"""Least differences of rim and misfit that count, however alike most classes are."""

_KEPT, _DOUBTFUL = 0.7, 0.5
"""Scores from which classes are kept, and doubtful."""


_BY_ITSELF = 0.9
"""What misfit or want of detail counts for at most by itself, where 1 is a limit.  Particles that
are hard to align show little, too, and a few odd images among good ones make a misfit: these are
left out one by one."""

_ONE_OF_TWO = 0.6
"""How far a class must go towards another limit to be junk for these."""


@dataclass(frozen=True)
class _Typical:
    """What most particles' classes are like, and how far from that is too far."""

    detail: float
    strength: float
    rim: float
    misfit: float
    rim_limit: float
    misfit_limit: float


def _weighed_median(values: Float[np.ndarray, " k"], weights: Float[np.ndarray, " k"]) -> float:
    order = values.argsort()
    total = weights[order].cumsum()
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _typical(sound: Sequence[AverageMeasures]) -> _Typical:
    """Medians over the particles of sound classes, and limits from the spread about them."""
    weights = np.array([one.particles for one in sound], dtype=np.float64)

    def middle(name: str) -> tuple[float, float]:
        values = np.array([getattr(one, name) for one in sound])
        median = _weighed_median(values, weights)
        return median, 1.4826 * _weighed_median(np.abs(values - median), weights)

    (rim, rims), (misfit, misfits) = middle("rim"), middle("misfit")
    return _Typical(
        middle("detail")[0],
        middle("strength")[0],
        rim,
        misfit,
        max(_SPREADS * rims, _LEAST_RIM),
        max(_SPREADS * misfits, _LEAST_MISFIT),
    )


def _departures(one: AverageMeasures, typical: _Typical) -> list[tuple[float, Kind, str]]:
    """How far a class goes towards each limit (1 is there), and what that means."""
    strong = (one.strength / max(typical.strength, 1e-12) - 1) / (_STRENGTH - 1)
    plain = (1 - one.detail / max(typical.detail, 1e-12)) / (1 - _DETAIL)
    rim = (one.rim - typical.rim) / typical.rim_limit
    misfit = (one.misfit - typical.misfit) / typical.misfit_limit
    found: list[tuple[float, Kind, str]] = [
        (one.slope / _SLOPE, "edge", "its density slopes from one side to the other"),
        (strong, "ice", "its density is far stronger than that of most particles"),
        (one.offset / _OFFSET, "off-centre", "its density lies off the centre"),
        (rim, "several", "there is density at the rim of the mask"),
    ]
    most = _BY_ITSELF if max(found)[0] < _ONE_OF_TWO else math.inf
    weaker: list[tuple[float, Kind, str]] = [
        (misfit, "several", "its images hold density that the average does not explain"),
        (plain, "noise", "it shows far less detail than most classes"),
    ]
    return [*found, *((min(part, most), kind, reason) for part, kind, reason in weaker)]


def judge(averages: Sequence[AverageMeasures], *, nothing: bool) -> list[AverageJudgement]:
    """What becomes of each class, in the order given.

    ``nothing`` says that no average explains particles that it has not seen.
    """
    even = sum(one.particles for one in averages) / max(len(averages), 1)
    fewest = max(_EMPTY * even, _FEWEST)
    sound = [one for one in averages if one.evidence >= _NO_EVIDENCE and one.particles >= fewest]
    typical = _typical(sound) if sound else None

    def judged(one: AverageMeasures) -> AverageJudgement:
        if one.particles < fewest:
            reason = f"with {one.particles} particles it is no average"
            return AverageJudgement(one, 0.0, "reject", "empty", reason)
        if typical is None or nothing or one.evidence < _NO_EVIDENCE:
            reason = "its images hold nothing that the average explains"
            return AverageJudgement(one, 0.0, "reject", "noise", reason)
        return _beside_others(one, typical)

    return [judged(one) for one in averages]


def _beside_others(one: AverageMeasures, typical: _Typical) -> AverageJudgement:
    """The judgement on a class that holds something, beside what most particles' classes are."""
    departures = _departures(one, typical)
    worst = max(part for part, _, _ in departures)
    score = float(np.clip(1 - worst * (1 - _DOUBTFUL), 0.0, 1.0))
    if worst >= 1:
        # The first limit that is passed names the kind: a slope makes a rim, a rim a misfit.
        _, kind, reason = next(found for found in departures if found[0] >= 1)
        return AverageJudgement(one, score, "reject", kind, reason)
    if score < _KEPT:
        reason = f"not far from a limit: {max(departures)[2]}"
        return AverageJudgement(one, score, "doubtful", "particle", reason)
    return AverageJudgement(one, score, "keep", "particle", "like most particles' classes")
