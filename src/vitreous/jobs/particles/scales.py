"""How bright the map's projections are in each particle's image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.particles import SubtractOptions
from vitreous.errors import InputError
from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.imaging.subtract import (
    Match,
    common_scale,
    fitting_band,
    fitting_radius,
    joined,
    match,
    particle_scales,
)
from vitreous.jobs.particles.classes import scale_corrections
from vitreous.jobs.particles.projections import Projector, batch_size
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.runs.folder import OnEvent

_SAMPLE = 1000
"""Particles of an optics group that its scale is fitted on."""

_SURE = 3.0
"""Standard errors by which a scale must exceed 0."""


@dataclass(frozen=True)
class Scales:
    """What the map's projections are multiplied with.

    Attributes
    ----------
    of_particle : array (particles,)
    of_group : dict
        By number of the optics group.
    record : list of dict
        For result.json.
    """

    of_particle: Float[np.ndarray, " n"]
    of_group: dict[int, float]
    record: list[dict[str, Any]]


def column_scales(table: ParticleSet) -> Float[np.ndarray, " n"]:
    """Scale of each particle's group of micrographs, from its own row or its group's.

    Raises
    ------
    InputError
        Where neither the table nor the model.star beside it has them.
    """
    found = scale_corrections(table)
    if found is None:
        raise InputError(
            f"no column {table.called(ParticleSet.group_scale)}, and no model.star beside the "
            "table that tells it of its groups",
            where=table.path,
            hint="pass --particle-scale none or fitted",
        )
    return found


def _matched(
    rows: np.ndarray,
    source: ImageSource,
    project: Projector,
    cube: FourierCube,
    own: Float[np.ndarray, " n"],
    resolution: float,
    on_event: OnEvent,
) -> Match:
    """Compare the images of some particles with projections of the whole map."""
    group = source.table.optics[source.table.group[rows[0]]]
    device = cube.data.device
    band = fitting_band(group.box, group.pixel_size, resolution).to(device)
    found: list[Match] = []
    done = 0
    for batch in np.array_split(rows, -(-len(rows) // batch_size(group.box))):
        images = torch.from_numpy(source.read(batch)).to(device)
        scale = torch.from_numpy(own[batch]).float().to(device)[:, None, None]
        found.append(match(images, project(cube, batch) * scale, band))
        done += len(batch)
        stage = f"fitting grey scale {group.number}"
        on_event({"event": "progress", "stage": stage, "iteration": done, "of": len(rows)})
    return joined(found)


def _sure_scale(found: Match, number: int, source: ImageSource) -> tuple[float, float]:
    scale, error = common_scale(found)
    if scale < _SURE * error:
        raise InputError(
            f"the images of optics group {number} do not show the map at their poses: its "
            f"projections fit with a scale of {scale:.3g} +- {error:.2g}",
            where=source.table.path,
            hint="check that map and poses are of one refinement and that particles are white, or "
            "pass --greyscale absolute",
        )
    return scale, error


def _chosen(rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def image_scales(
    options: SubtractOptions,
    source: ImageSource,
    project: Projector,
    volume: Float[Tensor, "n n n"],
    on_event: OnEvent,
) -> Scales:
    """Scale of the map in each image, as ``greyscale`` and ``particle_scale`` ask for.

    One number for each optics group is fitted by least squares to the low frequencies of the
    images, where poses found on the same noise have not made it too large.

    Raises
    ------
    InputError
        Where images do not show the map, and for scales that the table lacks.
    """
    table, resolution = source.table, options.fit_resolution
    columned = options.particle_scale == "column"
    own = column_scales(table) if columned else np.ones(len(table))
    scales = own.copy()
    of_group: dict[int, float] = {}
    record: list[dict[str, Any]] = []
    finest = max(
        fitting_radius(g.box, g.pixel_size, resolution) * project.steps(g) for g in table.optics
    )
    cube = map_to_cube(volume[None], finest + 1)
    for place, group in enumerate(table.optics):
        rows = np.flatnonzero(table.group == place)
        if options.greyscale == "absolute":
            of_group[group.number] = 1.0
            record.append({"optics_group": group.number, "scale": 1.0})
            continue
        every = options.particle_scale == "fitted"
        used = rows if every else _chosen(rows, _SAMPLE, options.seed)
        found = _matched(used, source, project, cube, own, resolution, on_event)
        scale, error = _sure_scale(found, group.number, source)
        scales[rows] = particle_scales(found) if every else own[rows] * scale
        of_group[group.number] = scale
        record.append(
            {
                "optics_group": group.number,
                "scale": scale,
                "error": error,
                "particles": len(used),
                "scatter": float(scales[rows].std()),
            }
        )
    return Scales(scales, of_group, record)
