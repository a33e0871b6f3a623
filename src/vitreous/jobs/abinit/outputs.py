"""What a search leaves behind: maps, particles.star and result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vitreous.io.mrc import write_map
from vitreous.jobs.abinit.impose import Imposed
from vitreous.jobs.abinit.junk import Label, effective_classes
from vitreous.jobs.abinit.verdict import Verdict
from vitreous.jobs.config import AbinitConfig
from vitreous.jobs.record import job_record, write_record
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
    by_map : array (particles, classes)
        Posterior of each class.
    noise_probability : array (particles,)
        That the image holds nothing.
    probability, log_evidence : arrays (particles,)
    noise : array (groups, rings)
    frequency : array (rings,)
        1/angstrom.
    """

    angles: Float[np.ndarray, "n 3"]
    origins: Float[np.ndarray, "n 2"]
    by_map: Float[np.ndarray, "n k"]
    noise_probability: Float[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]
    log_evidence: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, "g r"]
    frequency: Float[np.ndarray, " r"]

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """Class of each particle, from 1; images of noise come after the last map's."""
        noise = self.by_map.shape[1]
        return 1 + np.where(self.noise_probability > 0.5, noise, self.by_map.argmax(axis=1))


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


def _mean(values: Float[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None


def _class_records(
    found: Found, labels: Sequence[Label], resolution: float
) -> list[dict[str, Any]]:
    """One entry for every map, and one for the images of noise where there are any."""
    classes = found.classes
    every = [*labels, "noise"] if (classes > len(labels)).any() else labels
    records = []
    for number, label in enumerate(every, 1):
        member = classes == number
        sure = found.noise_probability if label == "noise" else found.by_map.max(axis=1)
        records.append(
            {
                "class": number,
                "label": label,
                "map": None if label == "noise" else f"class{number:03d}.mrc",
                "particles": int(member.sum()),
                "fraction": float(member.mean()),
                "confidence": _mean(sure[member]),
                "mean_max_posterior": _mean(found.probability[member]),
                "resolution": None if label == "noise" else resolution,
            }
        )
    return records


def _class_posteriors(found: Found) -> dict[str, Float[np.ndarray, " n"]]:
    """Columns of particles.star that tell of each class, where there are several."""
    if found.by_map.shape[1] == 1:
        return {}
    return {f"vitreousClassPosterior{n}": p for n, p in enumerate(found.by_map.T, 1)}


def write_results(
    config: AbinitConfig,
    table: ParticleTable,
    found: Found,
    maps: Float[np.ndarray, "k n n n"],
    labels: Sequence[Label],
    *,
    mask_diameter: float,
    resolution: float,
    starts: list[dict[str, Any]],
    verdict: Verdict,
    preflight: dict[str, Any],
    symmetry: str,
    looked_for: Imposed | None,
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
            "vitreousNoiseProbability": found.noise_probability,
            **_class_posteriors(found),
        },
    )
    write_particles(config.out / "particles.star", posed)
    result = {
        **job_record("abinit", config),
        "seed": config.seed,
        "device": device,
        "input": _input(table),
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "classes": _class_records(found, labels, resolution),
        "effective_classes": effective_classes(found.by_map.mean(axis=0)),
        "noise": [
            {
                "optics_group": group.number,
                "frequency": found.frequency.tolist(),
                "sigma2": noise.tolist(),
            }
            for group, noise in zip(table.optics, found.noise, strict=True)
        ],
        "mask_diameter": mask_diameter,
        "symmetry": symmetry,
        "symmetry_found": looked_for and looked_for.sentence,
        "symmetry_scores": looked_for and looked_for.record,
        "starts": starts,
        **verdict.record(),
        "preflight": preflight,
        "hand": "undetermined",
        "warnings": warnings,
    }
    write_record(config.out, result)
