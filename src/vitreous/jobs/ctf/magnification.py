"""Anisotropic magnification of every optics group."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vitreous.engine.images import optics_of
from vitreous.imaging.astigmatism import through_magnification
from vitreous.imaging.ctf import magnified
from vitreous.jobs.ctf.comparison import Compared, RunContext
from vitreous.jobs.ctf.sweep import (
    compared,
    counter,
    defocus_components,
    groups,
    with_defocus,
    with_group,
)
from vitreous.runs.folder import OnEvent
from vitreous.validate.optics.magnification_fit import (
    GradientSums,
    fit_magnification,
    gradient_sums,
)
from vitreous.validate.optics.significance import wald

_ROUNDS = 3
"""Passes: each is linear about the one before."""

_PIXEL_SIZE_OFF = 0.005
"""Mean magnification off 1 by which the pixel size is called wrong."""


def _record(
    number: int, matrix: Float[np.ndarray, "2 2"], information: torch.Tensor
) -> dict[str, Any]:
    stretches = np.linalg.svd(matrix, compute_uv=False)
    change = torch.from_numpy(matrix - np.eye(2)).reshape(4)
    errors = torch.linalg.inv(information).diagonal().sqrt().view(2, 2)
    return {
        "group": number,
        "matrix": matrix,
        "errors": errors,
        "anisotropy_percent": 100 * (stretches[0] / stretches[1] - 1),
        "mean_magnification": float(stretches.mean()),
        **wald(change, information),
    }


def _warnings(record: dict[str, Any]) -> list[str]:
    off = record["mean_magnification"] - 1
    if abs(off) < _PIXEL_SIZE_OFF:
        return []
    return [
        f"Optics group {record['group']}: the mean magnification is {100 * off:+.2f} % off, so its "
        "pixel size or the map's is wrong by that."
    ]


def _gradients(found: Compared) -> GradientSums:
    ctf = torch.sin(found.phase)
    residual = found.observed - ctf * found.predicted
    return gradient_sums(residual, ctf[..., None] * found.derivative)


def refine_magnification(
    context: RunContext, on_event: OnEvent
) -> tuple[RunContext, list[dict[str, Any]], list[str]]:
    """Problem with each group's matrix refined, the defocus carried along; records; warnings.

    The defocus was fitted to images as recorded: its phases stay as they were while frequencies
    move.
    """
    records: list[dict[str, Any]] = []
    done = counter("magnification", _ROUNDS * len(context.table), on_event)
    for _ in range(_ROUNDS):
        records = []
        for number, band, rows in groups(context):
            group = context.table.optics[number]
            sums = reduce(
                GradientSums.plus,
                (_gradients(found) for _, found in compared(context, band, [rows], done)),
            ).cpu()
            change, information = fit_magnification(sums, magnified(band.steps, optics_of(group)))
            step = np.eye(2) + change.numpy()
            matrix = step @ np.reshape(group.mag_matrix, (2, 2))
            components = defocus_components(context)
            components[rows] = through_magnification(components[rows], step)
            context = with_defocus(
                with_group(context, number, mag_matrix=tuple(matrix.ravel().tolist())), components
            )
            records.append(_record(group.number, matrix, information))
    return context, records, [line for record in records for line in _warnings(record)]
