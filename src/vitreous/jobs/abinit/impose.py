"""Symmetry found in a map made without it, laid on its axes and imposed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from vitreous.jobs.abinit.problem import Problem
from vitreous.jobs.abinit.starts import iterate
from vitreous.jobs.abinit.state import SearchState
from vitreous.jobs.engine import constrained
from vitreous.jobs.folder import OnEvent
from vitreous.math.symmetry import point_group
from vitreous.validate.point_groups import SymmetryFinding, find_symmetry
from vitreous.validate.turning import symmetrised

_AGAIN = 0.5
"""Part of the iterations after which a search begins that goes on under a point group."""


@dataclass(frozen=True)
class Imposed:
    """A problem and state after the search for symmetry.

    Attributes
    ----------
    problem : Problem
        Under the group that was found.
    state : SearchState
    group : str
    sentence : str
        What was found, for the report.
    record : dict
        The scores of all groups, for result.json; empty if none was looked for.
    """

    problem: Problem
    state: SearchState
    group: str
    sentence: str
    record: dict[str, Any]


def _record(finding: SymmetryFinding) -> dict[str, Any]:
    return {
        "group": finding.group,
        "resolution": finding.resolution,
        "warnings": list(finding.warnings),
        "scores": [
            {
                "group": score.group,
                "score": score.score,
                "allowed_by_noise": score.allowed,
                "verdict": finding.verdict(score),
            }
            for score in finding.scores
        ],
    }


def _sentence(finding: SymmetryFinding) -> str:
    if finding.group == "C1":
        return "No symmetry was found in the map, and none imposed."
    score = finding.score_of(finding.group)
    return (
        f"Symmetry {finding.group} was found in the map made without it (score "
        f"{score.score:.2f}, where noise would allow {score.allowed:.2f}) and imposed."
    )


def impose_found(
    problem: Problem, state: SearchState, mask_diameter: float, on_event: OnEvent
) -> Imposed:
    """Look for a point group in the first map; search on under it if there is one.

    Parameters
    ----------
    problem : Problem
        Without symmetry.
    state : SearchState
        At the end of its iterations.
    mask_diameter : float
        Angstrom.
    on_event : callable
    """
    frame = problem.frame
    number = int(state.fractions.argmax())
    finding = find_symmetry(
        state.maps[number].cpu(),
        frame.pixel_size,
        mask_diameter,
        resolution=problem.config.final_resolution,
    )
    sentence, record = _sentence(finding), _record(finding)
    on_event({"event": "symmetry", "sentence": sentence, **record})
    if finding.group == "C1":
        return Imposed(problem, state, "C1", sentence, record)
    operators, score = point_group(finding.group), finding.score_of(finding.group)
    laid = [symmetrised(m.cpu(), operators, score.matrix, score.shift) for m in state.maps]
    maps = torch.stack(laid).to(state.maps)
    problem = replace(problem, operators=operators)
    begin = round(_AGAIN * len(problem.steps))
    maps = constrained(maps, frame, problem.config.flatten)
    state = replace(state, maps=maps, sums=None, iteration=begin)
    while state.iteration < len(problem.steps):
        state, _ = iterate(problem, state, problem.steps[state.iteration])
        on_event(
            {
                "event": "symmetric",
                "stage": f"under {finding.group}",
                "iteration": state.iteration - begin,
                "of": len(problem.steps) - begin,
                "log_likelihood": state.evidence,
            }
        )
    return Imposed(problem, state, finding.group, sentence, record)
