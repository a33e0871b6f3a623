"""What a search leaves behind: maps, particles.star and result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.assignments import ParticleAssignments, input_record, noise_record, posed_table
from vitreous.engine.junk import LEFT_OUT, Label, duplicate_of, effective_classes
from vitreous.io.mrc import write_map
from vitreous.particles.files import write_particles
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.runs.record import job_record, write_record
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


def write_results(
    config: AbinitConfig,
    table: ParticleSet,
    grid: Grid,
    found: ParticleAssignments,
    maps: Float[np.ndarray, "k n n n"],
    labels: Sequence[Label],
    alike: Mapping[int, int],
    *,
    out: Path,
    mask_diameter: float,
    resolution: float,
    starts: list[dict[str, Any]],
    verdict: Judgement,
    preflight: dict[str, Any],
    symmetry: str,
    searched_under: str,
    symmetry_search: SymmetrySearch | None,
    timings: Mapping[str, float],
    device: str,
    warnings: list[str],
) -> None:
    """Write class001.mrc ..., particles.star and, last, result.json into ``out``."""
    for number, volume in enumerate(maps, 1):
        write_map(out / f"class{number:03d}.mrc", volume, grid.pixel_size)
    posed = posed_table(table, found, found.classes)
    write_particles(out / "particles.star", posed)
    result = {
        **job_record("abinit", config),
        "seed": config.seed,
        "device": device,
        "input": input_record(table, grid),
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "classes": _class_records(found, labels, alike, resolution),
        "effective_classes": effective_classes(found.by_map.mean(axis=0)),
        "noise": noise_record(table, found),
        "mask_diameter": mask_diameter,
        "symmetry": symmetry,
        "searched_under": searched_under,
        "symmetry_found": symmetry_search and symmetry_search.sentence,
        "symmetry_scores": symmetry_search and symmetry_search.record,
        "starts": starts,
        **verdict.record(),
        "preflight": preflight,
        "hand": "undetermined",
        "warnings": warnings,
    }
    write_record(out, result)
