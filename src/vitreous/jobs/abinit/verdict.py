"""Whether to believe a map: what several independent starts say together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from vitreous.validate.reproducibility import Agreement
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

_AGREES = 1.5
"""Starts agree if they do so to this many times the final resolution."""

_NEAR = 1.5
"""Starts that agree to this many times what is asked may do so after their last passes."""

_HANDED = 1.02
"""A map has a hand if it is unlike its mirror image at this many times the resolution that starts
agree to; neither resolution is finer than the search's own."""

HANDED_AT_LAST = 1.25
"""The same of the maps after the last passes, which may be finer than the search's."""

_SORTED = 0.95
"""Share of the particles that starts must put into the same classes."""

_POSED = 0.5
"""Share of the particles that starts must give the same pose."""

_DARK = -5.0
"""Contrast score below which the particles are taken to be dark: five standard errors."""

_SEEN = 5.0
"""Contrast score that particles, unlike noise, reach."""

_ROUND, _FLAT = 0.97, 0.05
"""Roundness of a map, and mean posterior of the best poses, from which and up to which a search has
collapsed."""


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
class Stopped:
    """A start that was stopped when the starts were compared.

    Attributes
    ----------
    start : int
        Its number, from 1.
    iteration, of : int
        After which iteration, of how many.
    behind : float
        Nats a held-out particle by which it fell short of the least likely start that went on.
    """

    start: int
    iteration: int
    of: int
    behind: float


@dataclass(frozen=True)
class AtLast:
    """Two starts that agree, compared after their last passes.

    Attributes
    ----------
    start : int
        Number of the second start.
    resolution : float
        Angstrom that the two last maps agree to.
    own_mirror : float
        Angstrom down to which the likelier start's last map is its own mirror image.
    posed_alike : float
        Share of the particles that both maps are made from that have the same pose in both.
    """

    start: int
    resolution: float
    own_mirror: float
    posed_alike: float


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
        Share of the held-out particles, but for those that look like noise in the likeliest start,
        that have the same pose as in that one.
    sorted_alike : list of Sorted or None
        For several classes: against the likeliest start; None for itself.
    own_mirror : float
        Resolution in angstrom down to which the likeliest map (of several classes, the most
        populated) is its own mirror image.
    contrast : float
        Mean density at the particles' place, in standard errors.
    final_resolution : float
        Angstrom.
    held_out : int
        How many held-out particles the poses are compared of.
    stopped : list of Stopped
        The starts that were not finished.
    roundness : float
        Share of the likeliest map's variance that its rotational average holds.
    certainty : float
        Mean posterior of the held-out particles' best poses in the likeliest start.
    at_last : AtLast or None
        Where the search's own maps leave a doubt that finer ones may remove.
    at_first : str
        What was said of starts with smaller mini-batches, where the search was begun anew.
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
    held_out: int
    stopped: tuple[Stopped, ...] = ()
    roundness: float = 0.0
    certainty: float = 1.0
    at_last: AtLast | None = None
    at_first: str = ""

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

    @property
    def nearest(self) -> int | None:
        """Which start is to be compared with the likeliest after the last passes.

        The likeliest partner; without any, the one that agrees best if that is not far off.
        """
        if self.partners:
            return max(self.partners, key=lambda n: self.log_likelihoods[n])
        others = {n: found.resolution for n, found in enumerate(self.with_best) if found}
        near = [n for n in others if others[n] <= _NEAR * self.limit]
        return min(near, key=others.__getitem__) if near else None

    @property
    def agreeing(self) -> int:
        """How many starts agree, the likeliest among them, before or after the last passes."""
        at_last = self.at_last is not None and self.at_last.resolution <= self.limit
        return max(1 + len(self.partners), 2 if at_last else 1)

    @property
    def agreed(self) -> str:
        """That starts agree, and to which resolution, in words."""
        said = f"{self.agreeing} of {len(self.starts)} finished starts agree to"
        if not self.partners:
            assert self.at_last is not None
            return f"{said} {self.at_last.resolution:.1f} A after their last passes"
        return f"{said} {self.worst:.0f} A"

    @property
    def worst(self) -> float:
        """Resolution in angstrom that all partners agree to."""
        return max(a.resolution for n in self.partners if (a := self.with_best[n]) is not None)

    @property
    def collapsed(self) -> bool:
        """Whether the search ended in a ball that shows the same from everywhere."""
        return self.roundness >= _ROUND and self.certainty <= _FLAT


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
    starts, and are brighter than what is round them.  Failed is where no two starts agree, the
    search collapsed, or the particles are dark or not to be seen.
    """
    word, doubt, sentence = _judged(evidence)
    said = [sentence, became_of_others(evidence.stopped)]
    if evidence.at_first:
        said.append(
            "This search was begun anew with larger mini-batches after a first one, of which was "
            f"to be said: {evidence.at_first}"
        )
    return Judgement(word, " ".join(filter(None, said)), evidence=evidence, doubt=doubt)


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
        return (
            "failed",
            "starts disagree",
            (f"No two of {starts} finished starts agree to {evidence.limit:.0f} A."),
        )
    return _judged_by_partners(evidence)


def _judged_by_partners(evidence: Evidence) -> tuple[Word, Doubt | None, str]:
    """The word and sentence where some starts agree."""
    starts, agreeing = len(evidence.starts), evidence.agreed
    if 2 * evidence.agreeing < starts:
        return (
            "ambiguous",
            "few starts agree",
            (f"Only {agreeing}; the others found something else."),
        )
    alike = [s.share for n in evidence.partners if (s := evidence.sorted_alike[n]) is not None]
    if alike and min(alike) < _SORTED:
        return (
            "ambiguous",
            "classes differ",
            (f"{agreeing}, but put only {min(alike):.0%} of the particles into the same classes."),
        )
    doubt, why = _of_last_maps(evidence) if evidence.at_last else _of_search(evidence)
    if doubt is not None:
        word: Word = "failed" if doubt == "starts disagree" else "ambiguous"
        return word, doubt, f"{agreeing}, but {why}."
    less = "; the others are less likely" if evidence.agreeing < starts else ""
    return "solved", None, f"{agreeing}{less}{why}."


def _of_search(evidence: Evidence) -> tuple[Doubt | None, str]:
    """Doubt, and its words, about hand and poses of the search's maps."""
    if evidence.own_mirror <= _HANDED * evidence.worst:
        return "own mirror image", _mirror_words(evidence.own_mirror)
    posed = [s for n in evidence.partners if (s := evidence.posed_alike[n]) is not None]
    # Of several classes the particles' sorting is asked for instead: poses go by one class's map.
    if not any(evidence.sorted_alike) and posed and _few(max(posed), evidence.held_out):
        return "poses differ", _pose_words(max(posed))
    return None, ""


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
