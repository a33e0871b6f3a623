"""Which point group a map has, as far as its noise lets one tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from vitreous.errors import OptionError
from vitreous.math.group_names import normalise_name
from vitreous.math.symmetry import point_group
from vitreous.ops.threads import one_thread
from vitreous.validate.symmetry.group_score import FEATURELESS, GroupScore, judged
from vitreous.validate.symmetry.symmetry_trial import Trial, prepare

GROUPS = (*(f"{family}{fold}" for family in "CD" for fold in range(2, 13)), "T", "O", "I")
"""The point groups tested."""

_STANDS_OUT = 30.0
"""Evidence from which a group is suggested though the map does not hold it: at most 15 on maps of
molecules that have none."""

_PSEUDO = 0.45
"""Least score of a low-passed map at which a symmetry that does not hold is warned of."""

_OUTDONE = 0.15
"""How much better, over what noise allows, a smaller group may hold: a true symmetry of more
operators holds as well as one of fewer, a pseudosymmetry does not."""

_REVOLVED = 0.85
"""Share of what is not alike in all directions that is alike all round the axis of such a body."""


@dataclass(frozen=True)
class SymmetryFinding:
    """What :func:`find_symmetry` found.

    Attributes
    ----------
    group : str
        Of those that hold the one with the most evidence, or C1.
    scores : tuple of GroupScore
        One a group, in the order tested.
    resolution : float
        Angstrom: the finest detail with much say in the scores.
    noise : str
        Where the noise was measured: ``half-maps``, ``solvent``, or ``unknown``, in which case all
        differences count as asymmetry.
    unfit : str or None
        What keeps the map from being judged, if anything does: it is C1 then.
    """

    group: str
    scores: tuple[GroupScore, ...]
    resolution: float
    noise: str
    unfit: str | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps the map from being judged, or pseudosymmetry."""
        if self.unfit is not None:
            return (self.unfit,)
        near = [score for score in self.scores if self.verdict(score) == "nearly"]
        near.sort(key=lambda score: -len(point_group(score.group)))
        return tuple(
            f"pseudosymmetry: a map low-passed to {score.low_resolution:.0f} A would score "
            f"{score.low:.2f} for {score.group}, but at {self.resolution:.0f} A it is "
            f"{score.relative:.2f}"
            for score in near
        )

    @property
    def holding(self) -> list[GroupScore]:
        """Scores of the groups that hold, the one with the most evidence first."""
        return [] if self.unfit is not None else _by_evidence(self.scores)

    @property
    def suggested(self) -> str | None:
        """The group that a search should try: it stands out from chance, be it held or not.

        In a map made without symmetry errors of its own may hide what the particle has; a
        pseudosymmetry stands out as well.  So a search under the group has to tell.
        """
        if self.unfit is not None:
            return None
        best = max(self.scores, key=lambda score: score.evidence)
        return best.group if best.evidence >= _STANDS_OUT else None

    def score_of(self, group: str) -> GroupScore:
        """The score of a group that was tested."""
        name = normalise_name(group)
        return next(score for score in self.scores if normalise_name(score.group) == name)

    def verdict(self, score: GroupScore) -> Literal["holds", "nearly", "no", "untold"]:
        """Whether a group holds, or nearly so: a pseudosymmetry."""
        if self.unfit is not None:
            return "untold"
        if score.holds and not _outdone(score, self.scores):
            return "holds"
        return "nearly" if score.holds or score.low >= _PSEUDO else "no"


def testable(name: str, option: str = "--symmetry") -> str:
    """Upper-case name of a point group that has axes.

    Raises
    ------
    OptionError
        For C1 and D1, and for a name that is no point group; it names ``option``.
    """
    normalise_name(name, option)
    group = name.strip().upper()
    if group in ("C1", "D1"):
        raise OptionError(f"{group} has no axes to look for", where=option, hint="give another")
    return group


def _by_evidence(scores: Sequence[GroupScore]) -> list[GroupScore]:
    """Of the groups that hold, the one with the most evidence first; none that is outdone."""
    held = [score for score in scores if score.holds and not _outdone(score, scores)]
    return sorted(held, key=lambda score: -score.evidence)


def _outdone(score: GroupScore, scores: Sequence[GroupScore]) -> bool:
    """Whether a smaller group holds so much better that this one is a pseudosymmetry."""
    order = len(point_group(score.group))
    return any(
        other.holds
        and len(point_group(other.group)) < order
        and other.relative > score.relative + _OUTDONE
        for other in scores
    )


def _unfit(trial: Trial) -> str | None:
    """Why a map cannot have its symmetry told, if so."""
    if float(trial.say.sum()) == 0:
        return "no shell holds signal above the map's noise"
    if trial.detail < FEATURELESS:
        return "the map is a ball without features: every rotation leaves it as it is"
    if trial.finest < trial.first:
        return (
            f"{trial.width / trial.finest:.0f} A is too coarse to tell the symmetry of a particle "
            f"of {trial.diameter:.0f} A"
        )
    return None


def _revolved(trial: Trial) -> str | None:
    """Whether a map without symmetry is a body of revolution."""
    share = trial.table.power[:, 0] / trial.table.power.sum(1).clamp(min=1e-30)
    if float(share.max()) < _REVOLVED * trial.allowed:
        return None
    return (
        "the map is the same all round one axis, as far as its noise lets one tell, and no fold "
        "stands out; an ab initio map may look so when its poses are wrong"
    )


def find_symmetry(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    mask_diameter: float,
    *,
    resolution: float,
    halves: tuple[Float[Tensor, "n n n"], Float[Tensor, "n n n"]] | None = None,
    groups: tuple[str, ...] = GROUPS,
    on_group: Callable[[str], None] = lambda _: None,
) -> SymmetryFinding:
    """Test a map for point groups, wherever their axes lie.

    Parameters
    ----------
    volume : tensor (n, n, n)
        Roughly centred; either hand.
    pixel_size, mask_diameter : float
        Angstrom.
    resolution : float
        Angstrom; finer detail is not looked at.  Give what the map is good to: beyond it noise
        would count as asymmetry.
    halves : pair of tensors (n, n, n), optional
        Half-maps in the place of the map: they tell its noise best.
    groups : tuple of str
        Those to test: Cn and Dn of any fold from 2, T, O, I, I1 to I4.
    on_group : callable, optional
        Told each group as its test begins.

    Raises
    ------
    OptionError
        For a name that is no point group with axes.
    """
    names = [testable(group) for group in groups]
    with one_thread():
        trial = prepare(volume, pixel_size, mask_diameter, resolution, halves)
        scores = []
        for name in names:
            on_group(name)
            scores.append(judged(trial, name))
    unfit = _unfit(trial)
    holding = [] if unfit else _by_evidence(scores)
    group = holding[0].group if holding else "C1"
    if group == "C1":
        unfit = unfit or _revolved(trial)
    resolution = trial.width / trial.finest
    return SymmetryFinding(group, tuple(scores), resolution, trial.noise, unfit)
