"""What a search leaves behind: maps, particles.star and result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vitreous.io.mrc import write_map
from vitreous.jobs.config import AbinitConfig
from vitreous.jobs.record import job_record, write_record
from vitreous.jobs.verdict import Verdict
from vitreous.particles.table import ParticleTable, write_particles


@dataclass(frozen=True)
class Found:
    """Poses of all particles and the noise they leave.

    Attributes
    ----------
    angles : array (particles, 3)
        Rot, tilt, psi, degrees.
    origins : array (particles, 2)
        Angstrom.
    classes : array (particles,)
        From 1.
    probability, log_evidence : arrays (particles,)
    noise : array (groups, rings)
    frequency : array (rings,)
        1/angstrom.
    """

    angles: Float[np.ndarray, "n 3"]
    origins: Float[np.ndarray, "n 2"]
    classes: Int[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]
    log_evidence: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, "g r"]
    frequency: Float[np.ndarray, " r"]


def _input(table: ParticleTable) -> dict[str, Any]:
    groups = [
        {**asdict(group), "particles": int((table.group == number).sum())}
        for number, group in enumerate(table.optics)
    ]
    first = table.optics[0]
    return {
        "particles": str(table.path),
        "n_particles": len(table),
        "box": first.box,
        "pixel_size": first.pixel_size,
        "optics_groups": groups,
    }


def _class_record(number: int, found: Found, resolution: float) -> dict[str, Any]:
    member = found.classes == number
    count = int(member.sum())
    return {
        "class": number,
        "map": f"class{number:03d}.mrc",
        "particles": count,
        "fraction": count / len(member),
        "mean_max_posterior": float(found.probability[member].mean()) if count else None,
        "resolution": resolution,
    }


def write_results(
    config: AbinitConfig,
    table: ParticleTable,
    found: Found,
    maps: Float[np.ndarray, "k n n n"],
    *,
    mask_diameter: float,
    resolution: float,
    starts: list[dict[str, Any]],
    verdict: Verdict,
    timings: Mapping[str, float],
    device: str,
    warnings: list[str],
) -> None:
    """Write class001.mrc ..., particles.star and, last, result.json into ``config.out``."""
    for number, volume in enumerate(maps, 1):
        write_map(config.out / f"class{number:03d}.mrc", volume, table.optics[0].pixel_size)
    posed = table.with_poses(
        rot=found.angles[:, 0],
        tilt=found.angles[:, 1],
        psi=found.angles[:, 2],
        origin_x=found.origins[:, 0],
        origin_y=found.origins[:, 1],
        extra={
            "rlnClassNumber": found.classes,
            "rlnMaxValueProbDistribution": found.probability,
            "rlnLogLikeliContribution": found.log_evidence,
        },
    )
    write_particles(config.out / "particles.star", posed)
    result = {
        **job_record("abinit", config),
        "seed": config.seed,
        "device": device,
        "input": _input(table),
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "classes": [_class_record(number, found, resolution) for number in range(1, len(maps) + 1)],
        "noise": [
            {
                "optics_group": group.number,
                "frequency": found.frequency.tolist(),
                "sigma2": noise.tolist(),
            }
            for group, noise in zip(table.optics, found.noise, strict=True)
        ],
        "mask_diameter": mask_diameter,
        "symmetry": config.symmetry,
        "starts": starts,
        **verdict.record(),
        "hand": "undetermined",
        "warnings": warnings,
    }
    write_record(config.out, result)
