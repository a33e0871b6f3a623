"""What a search leaves behind: maps, particles.star and result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.engine.assignments import ParticleAssignments, input_record, noise_record, posed_table
from vitreous.engine.junk import LEFT_OUT, Label, class_labels, duplicate_of, effective_classes
from vitreous.engine.state import SearchState
from vitreous.io.mrc import write_map
from vitreous.particles.files import write_particles
from vitreous.runs.record import job_record, write_record
from vitreous.schedules.abinit.evidence import Evidence
from vitreous.schedules.abinit.inputs import AbinitInputs
from vitreous.schedules.abinit.searched import Searched
from vitreous.schedules.abinit.verdict import Judgement


@dataclass(frozen=True)
class SymmetrySearch:
    """What a search for symmetry found.

    Attributes
    ----------
    group : str
        That was imposed.
    sentence : str
        What was found, for the report.
    record : dict
        The scores of all groups, for result.json.
    refuted : bool
        A group was tried that the particles did not bear out.
    """

    group: str
    sentence: str
    record: dict[str, Any]
    refuted: bool = False


@dataclass(frozen=True)
class AbinitResult:
    """What a job found.

    Attributes
    ----------
    inputs : AbinitInputs
        Of the particles that are written, and the folder that all is written to.
    final : Searched
        The last search: under a symmetry, or with several classes, if it came to that.
    found : ParticleAssignments
    verdict : Judgement
        With what to do next.
    symmetry : SymmetrySearch or None
    preflight : dict
    warnings : list of str
    timings : dict
        Seconds.
    """

    inputs: AbinitInputs
    final: Searched
    found: ParticleAssignments
    verdict: Judgement
    symmetry: SymmetrySearch | None
    preflight: dict[str, Any]
    warnings: list[str]
    timings: dict[str, float]


def _mean(values: Float[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None


def _class_records(
    found: ParticleAssignments, labels: Sequence[Label], alike: Mapping[int, int], resolution: float
) -> list[dict[str, Any]]:
    """One entry for every map, and for every kind of images left out that there are any of.

    The number of particles expected is the sum of their probabilities, each 0 or 1 in truth.
    """
    classes = found.classes
    records = []
    for number, label in enumerate([*labels, *LEFT_OUT], 1):
        member, is_map = classes == number, number <= len(labels)
        if not is_map and not member.any():
            continue
        belongs = found.belongs(number - 1)
        sure = found.by_map.max(axis=1) if is_map else belongs
        records.append(
            {
                "class": number,
                "label": label,
                "duplicate_of": duplicate_of(number, label, alike),
                "map": f"class{number:03d}.mrc" if is_map else None,
                "particles": int(member.sum()),
                "particles_expected": float(belongs.sum()),
                "particles_sd": float((belongs * (1 - belongs)).sum() ** 0.5),
                "fraction": float(member.mean()),
                "confidence": _mean(sure[member]),
                "mean_max_posterior": _mean(found.probability[member]),
                "resolution": resolution if is_map else None,
            }
        )
    return records


def _start_records(states: list[SearchState], evidence: Evidence) -> list[dict[str, Any]]:
    """For result.json: what became of every start."""
    likely = dict(zip(evidence.starts, evidence.log_likelihoods, strict=True))
    chosen = evidence.starts[evidence.best]
    return [
        {
            "start": state.start + 1,
            "iterations": state.iteration,
            "finished": state.start + 1 in likely,
            "log_likelihood": likely.get(state.start + 1, state.evidence),
            "behind": state.behind,
            "chosen": state.start + 1 == chosen,
        }
        for state in states
    ]


def write_results(result: AbinitResult) -> None:
    """Write class001.mrc ..., particles.star and, last, result.json into the job's folder."""
    inputs, final, found, symmetry = result.inputs, result.final, result.found, result.symmetry
    config, out, chosen, frame = inputs.config, inputs.folder, final.chosen, final.context.frame
    for number, volume in enumerate(inputs.full_size(final.ended.polished.maps), 1):
        write_map(out / f"class{number:03d}.mrc", volume, inputs.grid.pixel_size)
    posed = posed_table(inputs.table, found, found.classes)
    write_particles(out / "particles.star", posed, write=config.write)
    resolution = frame.field / frame.rings_at(final.context.config.ends_at)
    alike = final.alike
    not_reproduced = final.judgement.evidence.not_reproduced
    labels = class_labels(chosen.maps, chosen.class_priors, alike, not_reproduced)
    record = {
        **job_record("abinit", config),
        "seed": config.seed,
        "device": str(inputs.device),
        "input": input_record(inputs.table, inputs.grid),
        "timings": {name: round(seconds, 3) for name, seconds in result.timings.items()},
        "classes": _class_records(found, labels, alike, resolution),
        "effective_classes": effective_classes(found.by_map.mean(axis=0)),
        "noise": noise_record(inputs.table, found),
        "mask_diameter": inputs.mask_diameter,
        "symmetry": symmetry.group if symmetry else config.symmetry,
        "searched_under": final.context.config.symmetry,
        "symmetry_found": symmetry and symmetry.sentence,
        "symmetry_scores": symmetry and symmetry.record,
        "starts": _start_records(final.states, final.judgement.evidence),
        **result.verdict.record(),
        "preflight": result.preflight,
        "hand": "undetermined",
        "warnings": result.warnings,
    }
    write_record(out, record)
