"""Symmetry found in a map made without it, and whether the particles bear it out.

A group that the map holds is laid on its axes and imposed, if particles are then explained better
by maps made without them.  Errors of its own may hide what the particle has in a map that is in
doubt: the group that stands out is then searched under from new random densities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.pose_refinement import RefinementContext, held_out_evidence
from vitreous.jobs.abinit.next_step import resolution_under
from vitreous.jobs.abinit.outputs import SymmetrySearch
from vitreous.math.fourier import resample_map
from vitreous.math.symmetry import point_group
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.inputs import AbinitInputs
from vitreous.schedules.abinit.last_pass import Ended, polished_on
from vitreous.schedules.abinit.searched import Searched, search_within
from vitreous.schedules.abinit.starts import tried
from vitreous.schedules.abinit.verdict import OF_SHAPE
from vitreous.validate.symmetry.group_score import GroupScore
from vitreous.validate.symmetry.point_groups import SymmetryFinding
from vitreous.validate.symmetry.rotate import symmetrise_map


@dataclass(frozen=True)
class Gain:
    """How much better particles are explained by one map than by another, both made without them.

    Attributes
    ----------
    mean, error : float
        Difference of the log-likelihood a particle, and its standard error.
    """

    mean: float
    error: float

    @classmethod
    def between(cls, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Gain:
        """Of the same particles."""
        change = (after - before).double()
        return cls(float(change.mean()), float(change.std() / len(change) ** 0.5))

    def __str__(self) -> str:
        """Return it as sentences have it."""
        return f"{self.mean:+.2f} +- {self.error:.2f} a particle"


def _record(finding: SymmetryFinding) -> dict[str, Any]:
    return {
        "group": finding.group,
        "suggested": finding.suggested,
        "resolution": finding.resolution,
        "warnings": list(finding.warnings),
        "scores": [
            {
                "group": score.group,
                "score": score.score,
                "allowed_by_noise": score.allowed,
                "evidence": score.evidence,
                "verdict": finding.verdict(score),
            }
            for score in finding.scores
        ],
    }


def laid_on_axes(
    posed: PoseMatrices, matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]
) -> PoseMatrices:
    """Poses of the same images for a map that was turned, then shifted by so many pixels.

    What an image shows of a point x of the old map, A x, it shows of y = M x + s: A' = A M^T, and
    the origin takes up A' s.
    """
    matrices = posed.matrices @ torch.from_numpy(matrix).T
    moved = (matrices @ torch.from_numpy(shift))[:, :2]
    return PoseMatrices(matrices, posed.origins + moved.to(posed.origins))


def _laid(ended: Ended, refinement: RefinementContext, score: GroupScore) -> Ended:
    """Map and poses laid on the axes of a group, and the map averaged over it."""
    laid = symmetrise_map(
        ended.polished.maps[0].cpu(), refinement.operators, score.matrix, score.shift
    )[None]
    polished = replace(
        ended.polished,
        maps=laid.to(ended.polished.maps),
        posed=laid_on_axes(ended.polished.posed, score.matrix, score.shift),
    )
    return replace(ended, polished=polished)


def _impose(
    inputs: AbinitInputs, first: Searched, score: GroupScore, on_event: OnEvent
) -> tuple[Searched, SymmetrySearch]:
    """Polish all poses under a group that the map holds, if that explains particles better."""
    finding, ended = first.finding, first.ended
    assert finding is not None and ended.refinement is not None
    refinement = replace(ended.refinement, operators=point_group(score.group))
    begun, shells = _laid(ended, refinement, score), ended.frame.polar.rings
    before = held_out_evidence(ended.refinement, ended.polished, ended.folds, shells)
    after = held_out_evidence(refinement, begun.polished, ended.folds, shells)
    gain = Gain.between(before, after)
    record = {**_record(finding), "gain": gain.mean, "gain_error": gain.error}
    held = (
        f"Symmetry {score.group} was found in the map made without it (score {score.score:.2f}, "
        f"where noise would allow {score.allowed:.2f})"
    )
    if gain.mean <= 0:
        return first, SymmetrySearch(
            "C1",
            f"{held}, but not imposed: it explains particles less well by maps made without them "
            f"(log-likelihood {gain}), as a pseudosymmetry would.",
            record,
            refuted=True,
        )
    ended = polished_on(begun, refinement, shells, inputs.config.polish_passes, on_event)
    sentence = (
        f"{held} and imposed: it explains particles better by maps made without them "
        f"(log-likelihood {gain})."
    )
    return replace(first, ended=ended), SymmetrySearch(score.group, sentence, record)


def _imposed(
    inputs: AbinitInputs, first: Searched, on_event: OnEvent
) -> tuple[Searched, SymmetrySearch]:
    """The same of all groups that the map holds, the one with the most evidence first."""
    assert first.finding is not None
    found = None
    for score in first.finding.holding:
        found = _impose(inputs, first, score, on_event)
        if not found[1].refuted:
            break
    assert found is not None
    return found


def _gain_of_search(first: Searched, second: Searched) -> Gain:
    """Of the particles held out of both searches, on the first one's grid under its noise."""
    context, state = first.context, first.chosen
    maps = resample_map(second.chosen.maps, context.frame.box)
    states = [state, replace(state, maps=maps.to(state.maps))]
    trials = tried(context, states, context.config.ends_at)
    before, after = (trial.best.log_evidence.cpu() for trial in trials)
    return Gain.between(before, after)


def _search_under(
    inputs: AbinitInputs, first: Searched, group: str, on_event: OnEvent
) -> tuple[Searched, SymmetrySearch]:
    """Search anew under a group that stands out; its map is taken if it is solved and better."""
    finding = first.finding
    assert finding is not None
    evidence = finding.score_of(group).evidence
    stood = (
        f"The axes of {group} stand out in the map made without symmetry "
        f"(evidence {evidence:.0f}, by chance at most 15)"
    )
    on_event({"event": "note", "text": f"{stood}: now searching under {group}."})
    under = inputs.under(group, resolution_under(group, inputs.config.ends_at, inputs.grid.nyquist))
    second = search_within(under, on_event)
    gain = _gain_of_search(first, second)
    tested = {
        "group": group,
        "verdict": second.judgement.word,
        "sentence": second.judgement.sentence,
        "gain": gain.mean,
        "gain_error": gain.error,
    }
    record = {**_record(finding), "tested": tested}
    ended = f"{stood}, and a search under {group} ended {second.judgement.word}"
    said = f"log-likelihood of particles held out of both searches {gain}"
    if second.judgement.word == "solved" and gain.mean > 0:
        return second, SymmetrySearch(group, f"{ended} and explains them better ({said}).", record)
    return first, SymmetrySearch(
        "C1", f"{ended} ({said}): it is not borne out, and not imposed.", record, refuted=True
    )


def symmetrised_search(
    inputs: AbinitInputs, first: Searched, on_event: OnEvent
) -> tuple[Searched, SymmetrySearch]:
    """Impose or test the symmetry of a map made without it.

    Returns
    -------
    The search whose map is to be kept, and what was found.
    """
    finding = first.finding
    assert finding is not None
    found: tuple[Searched, SymmetrySearch]
    in_doubt = first.judgement.doubt in OF_SHAPE
    if in_doubt and finding.suggested is not None:
        found = _search_under(inputs, first, finding.suggested, on_event)
    elif finding.group != "C1" and first.ended.refinement is not None:
        found = _imposed(inputs, first, on_event)
    else:
        sentence = "No symmetry was found in the map, and none imposed."
        found = first, SymmetrySearch("C1", sentence, _record(finding))
    on_event({"event": "symmetry", "sentence": found[1].sentence, **found[1].record})
    return found
