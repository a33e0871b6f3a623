"""Symmetry found in the maps made without it, laid on its axes and imposed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vitreous.jobs.abinit.last_pass import Ended, polished_on
from vitreous.jobs.abinit.outputs import LookedFor
from vitreous.jobs.config.abinit import AbinitConfig
from vitreous.jobs.em.local_pass import Posed
from vitreous.jobs.folder import OnEvent
from vitreous.math.symmetry import point_group
from vitreous.validate.symmetry.point_groups import SymmetryFinding, find_symmetry
from vitreous.validate.symmetry.turning import symmetrised


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


def laid_on_axes(
    posed: Posed, matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]
) -> Posed:
    """Poses of the same images for a map that was turned, then shifted by so many pixels.

    What an image shows of a point x of the old map, A x, it shows of y = M x + s: A' = A M^T, and
    the origin takes up A' s.
    """
    matrices = posed.matrices @ torch.from_numpy(matrix).T
    moved = (matrices @ torch.from_numpy(shift))[:, :2]
    return Posed(matrices, posed.origins + moved.to(posed.origins))


def impose_found(
    ended: Ended, config: AbinitConfig, mask_diameter: float, on_event: OnEvent
) -> tuple[Ended, LookedFor]:
    """Look for a point group in the map; if there is one, lay it on its axes and polish under it.

    Parameters
    ----------
    ended : Ended
        Without symmetry, one map.
    config : AbinitConfig
    mask_diameter : float
        Angstrom.
    on_event : callable
    """
    frame, volume = ended.frame, ended.polished.maps[0].cpu()
    finding = find_symmetry(
        volume, frame.pixel_size, mask_diameter, resolution=config.final_resolution
    )
    looked_for = LookedFor(finding.group, _sentence(finding), _record(finding))
    on_event({"event": "symmetry", "sentence": looked_for.sentence, **looked_for.record})
    if finding.group == "C1" or ended.material is None:
        return ended, replace(looked_for, group="C1")
    operators, score = point_group(finding.group), finding.score_of(finding.group)
    laid = symmetrised(volume, operators, score.matrix, score.shift)[None]
    polished = replace(
        ended.polished,
        maps=laid.to(ended.polished.maps),
        posed=laid_on_axes(ended.polished.posed, score.matrix, score.shift),
    )
    material = replace(ended.material, operators=operators)
    shells = frame.polar.rings
    begun = replace(ended, polished=polished)
    return polished_on(begun, material, shells, config.polish_passes, on_event), looked_for
