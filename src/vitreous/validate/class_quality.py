"""Which classes of a classification are worth keeping, by what it says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAP = "map"
"""Label of a class that is not known to be junk."""


@dataclass(frozen=True)
class ClassRecord:
    """What a classification says of a class; None where it says nothing.

    Attributes
    ----------
    number : int
        From 1.
    label : str
        ``map``, or the kind of junk that the class is.
    share : float
        Of all particles, from 0 to 1.
    confidence : float or None
        Mean posterior of the class over its particles.
    posterior : float or None
        Mean posterior of their best poses.
    resolution : float or None
        Angstrom.
    rotation_accuracy, translation_accuracy : float or None
        Of the alignment, degrees and angstrom or pixels.
    completeness : float or None
        Part of Fourier space that is filled.
    judged : float or None
        Score that the classification itself gave, as 2D classification does.
    """

    number: int
    label: str
    share: float
    confidence: float | None = None
    posterior: float | None = None
    resolution: float | None = None
    rotation_accuracy: float | None = None
    translation_accuracy: float | None = None
    completeness: float | None = None
    judged: float | None = None


@dataclass(frozen=True)
class ClassQuality:
    """A class with its score.

    Attributes
    ----------
    record : ClassRecord
    terms : mapping
        What the score is made of, each from 0 to 1.
    score : float
        From 0 (junk) to 1.
    """

    record: ClassRecord
    terms: Mapping[str, float]
    score: float


_FEWER_IS_BETTER = ("resolution", "rotation_accuracy", "translation_accuracy")


def _relative(values: Mapping[int, float | None], fewer: bool) -> dict[int, float]:
    """Values over the best of them, or the best over them; 0 for what cannot be measured."""
    sound = {n: v for n, v in values.items() if v is not None and math.isfinite(v) and v > 0}
    if not sound:
        return {}
    best = (min if fewer else max)(sound.values())
    return {n: (best / sound[n] if fewer else sound[n] / best) if n in sound else 0 for n in values}


def class_qualities(records: Sequence[ClassRecord]) -> list[ClassQuality]:
    """Scores of all classes, the best first.

    A score that the classification gave stands.  Classes with a label of junk have 0.  The score of
    the others is the geometric mean of the terms that are known:

    - occupancy: the share over an even share, 1 at most;
    - confidence: the mean posterior of the class, from chance (0) to certainty (1);
    - posterior: that of the poses, over the best class's;
    - resolution, rotation_accuracy, translation_accuracy: the best class's over this one's;
    - completeness.

    So a class must be fair in everything: one term near 0 takes the score down.
    """
    maps = [record for record in records if record.label == MAP]
    even = 1 / max(len(maps), 1)
    relative = {
        name: _relative({r.number: getattr(r, name) for r in maps}, name in _FEWER_IS_BETTER)
        for name in ("posterior", *_FEWER_IS_BETTER)
    }

    def terms(record: ClassRecord) -> dict[str, float]:
        known = {"occupancy": min(1.0, record.share / even)}
        if record.confidence is not None and even < 1:
            known["confidence"] = (record.confidence - even) / (1 - even)
        known |= {name: found[record.number] for name, found in relative.items() if found}
        if record.completeness is not None:
            known["completeness"] = record.completeness
        return {name: min(max(value, 0.0), 1.0) for name, value in known.items()}

    rated = [
        ClassQuality(r, found, math.prod(found.values()) ** (1 / len(found)))
        if r.label == MAP and (found := terms(r))
        else ClassQuality(r, {}, 0.0)
        if r.judged is None
        else ClassQuality(r, {}, r.judged)
        for r in records
    ]
    return sorted(rated, key=lambda quality: -quality.score)
