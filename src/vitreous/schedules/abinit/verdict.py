"""Whether to believe a map: what several independent starts say together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from vitreous.schedules.abinit.evidence import Evidence, Sorted, Stopped
from vitreous.validate.verdict import Verdict, Word

Doubt = Literal[
    "inverted",
    "no density",
    "one start",
    "collapsed",
    "starts disagree",
    "few starts agree",
    "own mirror image",
    "classes differ",
    "poses differ",
]
"""What keeps a map from being called solved."""

OF_SHAPE: Final[frozenset[Doubt]] = frozenset(
    ("collapsed", "starts disagree", "few starts agree", "own mirror image", "poses differ")
)
"""Doubts that a symmetry which was not imposed may be the cause of."""

TOLD_AT_LAST: Final[frozenset[Doubt]] = frozenset(
    ("starts disagree", "few starts agree", "own mirror image", "poses differ")
)
"""Doubts that the maps of two starts may remove after their last passes."""

FOUND_NOTHING: Final[frozenset[Doubt]] = frozenset(
    ("collapsed", "starts disagree", "few starts agree", "poses differ")
)
"""Doubts that a search with larger mini-batches may remove."""

_HANDED = 1.02
"""A map has a hand if it is unlike its mirror image at this many times the resolution that starts
agree to; neither resolution is finer than the search's own."""

HANDED_AT_LAST = 1.25
"""The same of the maps after the last passes, which may be finer than the search's."""

_SORTED = 0.95
"""Share of the particles sure of their class that starts must put into the same one."""

_CERTAIN = 0.5
"""Share of the particles that must be sure of their class."""

_POSED = 0.5
"""Share of the particles that starts must give the same pose."""

_DARK = -5.0
"""Contrast score below which the particles are taken to be dark: five standard errors."""

_SEEN = 5.0
"""Contrast score that particles, unlike noise, reach."""


@dataclass(frozen=True, kw_only=True)
class Judgement(Verdict):
    """The verdict of a search, and what it rests on.

    Attributes
    ----------
    evidence : Evidence
    doubt : str or None
        What keeps the map from being called solved.
    """

    evidence: Evidence
    doubt: Doubt | None

    def record(self) -> dict[str, Any]:
        """For result.json."""
        found = asdict(replace(self.evidence, pairwise=[]))
        found["pairwise"] = [
            [a and {"resolution": _finite(a.resolution), "mirrored": a.mirrored} for a in row]
            for row in self.evidence.pairwise
        ]
        found["by_class"] = [
            classes and {str(n + 1): _finite(resolution) for n, resolution in classes.items()}
            for classes in self.evidence.by_class
        ]
        found["own_mirror"] = _finite(self.evidence.own_mirror)
        if self.evidence.at_last is not None:
            found["at_last"]["resolution"] = _finite(self.evidence.at_last.resolution)
            found["at_last"]["own_mirror"] = _finite(self.evidence.at_last.own_mirror)
        return {**super().record(), "doubt": self.doubt, "evidence": found}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def judge(evidence: Evidence) -> Judgement:
    """Solved, ambiguous or failed.

    Solved takes half of the finished starts, and two at the least, that agree, also on which
    particle belongs to which class; a map with a hand; particles that have the same pose in two
    starts, and are brighter than what is round them.  Failed is where no two starts agree, not even
    in some of their classes, the search collapsed, or the particles are dark or not to be seen.
    """
    word, doubt, sentence = _judged(evidence)
    said = [sentence, _not_reproduced(evidence), became_of_others(evidence.stopped)]
    if evidence.at_first:
        said.append(
            "This search was begun anew with larger mini-batches after a first one, of which was "
            f"to be said: {evidence.at_first}"
        )
    return Judgement(word, " ".join(filter(None, said)), evidence=evidence, doubt=doubt)


def _not_reproduced(evidence: Evidence) -> str:
    """What is to be said of classes that no other start has: a sentence, or nothing."""
    classes = _class_names(evidence.not_reproduced)
    return f"Not found again by another start, so perhaps junk: {classes}." if classes else ""


def became_of_others(stopped: tuple[Stopped, ...]) -> str:
    """What became of the starts that were not finished: a sentence, or nothing without any."""
    if not stopped:
        return ""
    at = sorted({one.iteration for one in stopped})
    when = " and ".join(str(iteration) for iteration in at)
    low, high = min(one.behind for one in stopped), max(one.behind for one in stopped)
    by = f"{low:.2g} to {high:.2g}" if f"{low:.2g}" != f"{high:.2g}" else f"{low:.2g}"
    if len(stopped) == 1:
        subject, they, was = "Another start", "it", "was"
    else:
        subject, they, was = f"{len(stopped)} more starts", "they", "were"
    return (
        f"{subject} {was} stopped after iteration {when} of {stopped[0].of}, as {they} explained "
        f"the held-out particles less well (log-likelihood {by} lower a particle)."
    )


def _judged(evidence: Evidence) -> tuple[Word, Doubt | None, str]:
    starts = len(evidence.starts)
    if evidence.contrast < _DARK:
        return (
            "failed",
            "inverted",
            ("The particles are darker than what is round them: their contrast looks inverted."),
        )
    if evidence.contrast < _SEEN:
        return (
            "failed",
            "no density",
            ("The images hold no density at the particles' place: they may be noise alone."),
        )
    if evidence.collapsed:
        return (
            "failed",
            "collapsed",
            (
                "The search collapsed: the likeliest map is a ball without features, and a "
                f"particle's best pose holds {evidence.certainty:.1%} of its posterior on average."
            ),
        )
    if starts == 1:
        return (
            "ambiguous",
            "one start",
            ("Only one random start was finished: nothing tells a true map from a false one."),
        )
    if evidence.agreeing == 1:
        return _judged_alone(evidence)
    return _judged_by_partners(evidence)


def _judged_alone(evidence: Evidence) -> tuple[Word, Doubt | None, str]:
    """The word and sentence where no starts agree, though some of their classes may."""
    said = f"No two of {len(evidence.starts)} finished starts agree to {evidence.limit:.0f} A"
    again = evidence.found_again
    if not any(again.values()):
        return "failed", "starts disagree", f"{said}."
    names = _class_names([number for number, found in again.items() if found])
    others = "" if all(again.values()) else ", but none has the others"
    return (
        "ambiguous",
        "starts disagree",
        (f"{said} in classes that hold most of the particles. Another start has {names}{others}."),
    )


def _class_names(numbers: list[int]) -> str:
    """Classes, given from 0, as people count them."""
    return ", ".join(f"class {number + 1}" for number in numbers)


def _judged_by_partners(evidence: Evidence) -> tuple[Word, Doubt | None, str]:
    """The word and sentence where some starts agree."""
    starts, agreeing = len(evidence.starts), evidence.agreed
    if 2 * evidence.agreeing < starts:
        return (
            "ambiguous",
            "few starts agree",
            (f"Only {agreeing}; the others found something else."),
        )
    alike = [s for n in evidence.partners if (s := evidence.sorted_alike[n]) is not None]
    if alike and (why := _sorting_words(min(alike, key=lambda one: one.share))):
        return "ambiguous", "classes differ", f"{agreeing}, but {why}."
    doubt, why = _of_last_maps(evidence) if evidence.at_last else _of_search(evidence)
    if doubt is not None:
        word: Word = "failed" if doubt == "starts disagree" else "ambiguous"
        return word, doubt, f"{agreeing}, but {why}."
    less = "; the others are less likely" if evidence.agreeing < starts else ""
    return "solved", None, f"{agreeing}{less}{why}."


def _sorting_words(alike: Sorted) -> str:
    """What is to be said against the classes; nothing if starts sort the particles alike."""
    if alike.certain < _CERTAIN:
        return f"only {alike.certain:.0%} of the particles are sure of their class"
    if alike.share < _SORTED:
        return (
            f"put only {alike.share:.0%} of the particles that are sure of their class into the "
            "same one"
        )
    return ""


def _of_search(evidence: Evidence) -> tuple[Doubt | None, str]:
    """Doubt, and its words, about hand and poses of the search's maps."""
    if _no_hand(evidence):
        return "own mirror image", _mirror_words(evidence.own_mirror)
    posed = [s for n in evidence.partners if (s := evidence.posed_alike[n]) is not None]
    # Of several classes the particles' sorting is asked for instead: poses go by one class's map.
    if not any(evidence.sorted_alike) and posed and _few(max(posed), evidence.held_out):
        return "poses differ", _pose_words(max(posed))
    return None, ""


def _no_hand(evidence: Evidence) -> bool:
    """Whether the search's map is its own mirror image as far as starts agree."""
    return bool(evidence.partners) and evidence.own_mirror <= _HANDED * evidence.worst


def _few(share: float, particles: int) -> bool:
    """Whether a share of some particles is below half by more than two standard errors."""
    return share + 2 * math.sqrt(share * (1 - share) / particles) < _POSED


def _of_last_maps(evidence: Evidence) -> tuple[Doubt | None, str]:
    """The same of two starts after their last passes."""
    last = evidence.at_last
    assert last is not None
    if last.resolution > evidence.limit:
        known = math.isfinite(last.resolution)
        reached = f"to {last.resolution:.0f} A only" if known else "at no resolution"
        return "starts disagree", f"after their last passes two of them agree {reached}"
    if last.own_mirror <= HANDED_AT_LAST * last.resolution:
        return "own mirror image", (
            f"after their last passes two of them agree to {last.resolution:.0f} A, where "
            f"{_mirror_words(last.own_mirror)}"
        )
    if last.stands_out and _no_hand(evidence):
        return "own mirror image", (
            f"the map of the search is its own mirror image to {evidence.own_mirror:.0f} A, and in "
            f"the last map the axes of {last.stands_out} stand out though it does not hold this "
            "symmetry: a false solution of a particle that has it looks so"
        )
    if last.posed_alike < _POSED:
        return "poses differ", _pose_words(last.posed_alike)
    hand = f"the map has a plain hand (it is its own mirror image to {last.own_mirror:.0f} A only)"
    if not evidence.partners:
        return None, f"; {hand}"
    return None, f", two of them to {last.resolution:.1f} A after their last passes, where {hand}"


def _mirror_words(resolution: float) -> str:
    return (
        f"the map is its own mirror image to {resolution:.0f} A: it may be a false solution, or "
        "too coarse to have a hand"
    )


def _pose_words(share: float) -> str:
    return f"give only {share:.0%} of the particles the same pose: the poses are not to be trusted"
