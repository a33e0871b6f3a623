"""What the finished starts of a search say together, which the verdict rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vitreous.validate.reproducibility import Agreement

_AGREES = 1.5
"""Starts agree if they do so to this many times the final resolution."""

_NEAR = 1.5
"""Starts that agree to this many times what is asked may do so after their last passes."""

_ROUND, _FLAT = 0.97, 0.05
"""Roundness of a map, and mean posterior of the best poses, from which and up to which a search has
collapsed."""


def agrees_to(final_resolution: float) -> float:
    """Resolution in angstrom that starts of a search to a final one must agree to."""
    return _AGREES * final_resolution


@dataclass(frozen=True)
class Sorted:
    """How far two starts sort the particles alike.

    Attributes
    ----------
    share : float
        Of the particles whose class the likeliest start is certain of, those in matching classes.
    rand_index : float
        Adjusted Rand index of the same.
    certain : float
        Share of the particles whose class the likeliest start is certain of.
    """

    share: float
    rand_index: float
    certain: float


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
    stands_out : str or None
        A point group whose axes stand out in the likeliest start's last map, though the map does
        not hold it.
    """

    start: int
    resolution: float
    own_mirror: float
    posed_alike: float
    stands_out: str | None = None


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
        How far each start (row) agrees with each other one (column), several classes in those that
        agree best and hold 80 % of the particles; None for itself.
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
    by_class : list of dict or None
        Resolution in angstrom that each class of the likeliest start, from 0, agrees to with one of
        each start; None for itself.  Classes without particles are left out.
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
    by_class: list[dict[int, float] | None]
    stopped: tuple[Stopped, ...] = ()
    roundness: float = 0.0
    certainty: float = 1.0
    at_last: AtLast | None = None
    at_first: str = ""

    @property
    def limit(self) -> float:
        """Resolution in angstrom that starts must agree to."""
        return agrees_to(self.final_resolution)

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
    def not_reproduced(self) -> list[int]:
        """Classes of the likeliest start, from 0, that none of those that agree with it has."""
        return [number for number, again in self._found_by(self.partners).items() if not again]

    @property
    def found_again(self) -> dict[int, bool]:
        """Of each class of the likeliest start, from 0, whether any other start has it."""
        return self._found_by(range(len(self.starts)))

    def _found_by(self, starts: Iterable[int]) -> dict[int, bool]:
        """The same of some of the starts."""
        others = [found for start in starts if (found := self.by_class[start])]
        every = sorted({number for found in others for number in found})
        return {n: any(found[n] <= self.limit for found in others) for n in every}

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
