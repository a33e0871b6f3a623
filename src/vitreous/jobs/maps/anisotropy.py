"""Resolution by direction, and how evenly the particles' views are spread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.config.maps import AnisotropyConfig
from vitreous.errors import InputError
from vitreous.jobs.maps.half_maps import half_maps_given
from vitreous.math.group_names import normalise_name
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_columns
from vitreous.particles.particle_set import ParticleSet
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.validate.advice import LEAST_AREA_RATIO, LEAST_SCORE, Views, advice
from vitreous.validate.anisotropy import ConicalFsc, conical_fsc
from vitreous.validate.fsc import shell_frequency
from vitreous.validate.sampling import principal_view, sampling

_TILTS = (20.0, 30.0, 40.0, 50.0)
"""Degrees of the stage that are tried where views are uneven."""


def read_views(path: Path) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Rot and tilt of all particles, degrees; their images need not be there.

    Raises
    ------
    InputError
        If the columns are missing or hold other than numbers.
    """
    found = read_columns(path, ParticleSet.rot, ParticleSet.tilt)
    rot, tilt = (found.read(field) for field in (ParticleSet.rot, ParticleSet.tilt))
    if rot is None or tilt is None:
        columns = " and ".join(found.called(f) for f in (ParticleSet.rot, ParticleSet.tilt))
        raise InputError(
            f"no particles with the columns {columns}",
            where=path,
            hint="give the STAR file of a refinement or of vitreous abinit",
        )
    return rot, tilt


def spread_of_views(
    rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"], symmetry: str, seed: int
) -> Views:
    """Sampling by the views as they are and on a tilted grid."""
    group = point_group(symmetry)
    now = sampling(rot, tilt, group, seed=seed)
    tried = _TILTS if now.score < LEAST_SCORE else ()
    tilted = {angle: sampling(rot, tilt, group, stage_tilt=angle, seed=seed) for angle in tried}
    return Views(now, tilted, *principal_view(rot, tilt, group))


def _map_record(cones: ConicalFsc) -> dict[str, Any]:
    limits, areas = cones.limits, cones.areas
    return {
        "cfar": cones.area_ratio,
        "sphericity": cones.sphericity,
        "resolution_best": 1 / max(limits[areas.argmax()], 1e-6),
        "resolution_worst": 1 / max(limits[areas.argmin()], 1e-6),
        "worst_axis": cones.axes[areas.argmin()],
        "conical_fsc": {
            "frequency": shell_frequency(cones.box, cones.pixel_size),
            "axes": cones.axes,
            "curves": cones.curves.round(4),
            "limits": limits,
        },
    }


def _views_record(views: Views, rot: np.ndarray) -> dict[str, Any]:
    return {
        "n_particles": len(rot),
        "score": views.sampling.score,
        "empty_directions": views.sampling.empty,
        "emptiest_axis": views.sampling.emptiest,
        "main_axis": views.axis,
        "concentration": views.concentration,
        "tilted": [
            {"tilt": angle, "score": found.score, "empty_directions": found.empty}
            for angle, found in views.tilted.items()
        ],
    }


@on_its_threads
@deterministic
def run_anisotropy(config: AnisotropyConfig, on_event: OnEvent = ignore) -> Path:
    """Conical FSC, cFAR and sphericity of two half-maps, the score of the views, and advice.

    Returns
    -------
    Path of the folder, with result.json.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used.
    """
    began = time.monotonic()
    symmetry = normalise_name(config.symmetry)
    angles = None if config.particles is None else read_views(config.particles)
    halves = half_maps_given(config).to(device_for(config.device))
    with job_folder("anisotropy", config, on_event) as job:
        job.tell({"event": "progress", "stage": "conical FSC", "iteration": 0, "of": 2})
        mask = halves.mask.volume
        cones = conical_fsc(halves.half1 * mask, halves.half2 * mask, halves.pixel_size)
        job.tell({"event": "progress", "stage": "views", "iteration": 1, "of": 2})
        views = None if angles is None else spread_of_views(*angles, symmetry, config.seed)
        result: dict[str, Any] = {
            **job_record("anisotropy", config),
            "seed": config.seed,
            "symmetry": symmetry,
            **halves.record(),
            **_map_record(cones),
            "views": None if views is None or angles is None else _views_record(views, angles[0]),
            "anisotropic": cones.area_ratio < LEAST_AREA_RATIO,
            "uneven": None if views is None else views.sampling.score < LEAST_SCORE,
            "advice": advice(cones, views),
            "warnings": list(halves.mask.warnings),
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        }
        write_record(job.path, result)
        job.tell({"event": "progress", "stage": "views", "iteration": 2, "of": 2})
    return config.out
