"""Defocus of every particle and astigmatism of every micrograph."""

from __future__ import annotations

import math
from functools import reduce
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.images import optics_of
from vitreous.imaging.ctf import electron_wavelength, magnified
from vitreous.jobs.ctf.comparison import RunContext
from vitreous.jobs.ctf.sweep import (
    compared,
    counter,
    defocus_components,
    groups,
    with_defocus,
)
from vitreous.runs.folder import OnEvent
from vitreous.validate.optics.defocus_fit import (
    fit_offsets,
    offset_gains,
    offsets_tried,
    ring_sums,
    rings_of,
)
from vitreous.validate.optics.phase_fit import PhaseSums, even_sums, fit_phase
from vitreous.validate.optics.shrinkage import shrink
from vitreous.validate.optics.significance import likelihood_ratio

_AT_LIMIT = 0.02
"""Share of particles whose defocus ends at the limit of its range, above which it is told."""


def _quantiles(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "percentile_95": float(np.percentile(values, 95)),
    }


def _limit_warning(record: dict[str, Any]) -> list[str]:
    if record["at_limit"] <= _AT_LIMIT * record["particles"]:
        return []
    return [
        f"Optics group {record['group']}: the defocus of {record['at_limit']} of "
        f"{record['particles']} particles went to the limit: raise --defocus-range, or look "
        "whether their CTF was ever estimated."
    ]


def refine_defocus(
    context: RunContext, reach: float, on_event: OnEvent
) -> tuple[RunContext, list[dict[str, Any]], list[str]]:
    """Problem with each particle's mean defocus refined; a record of each group; warnings.

    Parameters
    ----------
    reach : float
        Largest change tried, angstrom.
    """
    done = counter("defocus", len(context.table), on_event)
    components, records = defocus_components(context), []
    for number, band, rows in groups(context):
        group = context.table.optics[number]
        optics = optics_of(group)
        wavelength = electron_wavelength(optics.voltage)
        square = (magnified(band.metric, optics) ** 2).sum(-1)
        ring, ring_square = rings_of(square, wavelength, reach)
        offsets = offsets_tried(wavelength, float(square.max()) ** 0.5, reach)
        here, squares, tried = (part.to(context.device) for part in (ring, ring_square, offsets))
        gains = torch.cat(
            [
                offset_gains(ring_sums(even_sums(*found.terms), here), squares, tried, wavelength)
                for _, found in compared(context, band, [rows], done)
            ]
        ).cpu()
        fit = fit_offsets(gains, offsets)
        change = fit.offset.numpy()
        components[rows, 0] += change
        records.append(
            {
                "group": group.number,
                "particles": len(rows),
                "change": _quantiles(np.abs(change)),
                "mean": fit.mean,
                "spread": fit.spread,
                "error": _quantiles(fit.error.numpy()),
                "at_limit": int((np.abs(change) > 0.98 * reach).sum()),
                **likelihood_ratio(fit.gain, 2),
            }
        )
    warnings = [line for record in records for line in _limit_warning(record)]
    return with_defocus(context, components), records, warnings


def _by_micrograph(names: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(names[rows], kind="stable")
    _, starts = np.unique(names[rows][order], return_index=True)
    return np.split(rows[order], starts[1:])


def _basis(points: Float[Tensor, "p 2"], wavelength: float) -> Float[Tensor, "p 3"]:
    """Phase of an angstrom of mean defocus and of astigmatism's two components."""
    x, y = points.unbind(-1)
    forms = torch.stack([x**2 + y**2, x**2 - y**2, 2 * x * y], dim=1)
    return math.pi * wavelength * forms


def refine_astigmatism(
    context: RunContext, micrograph: np.ndarray, on_event: OnEvent
) -> tuple[RunContext, list[dict[str, Any]]]:
    """Problem with each micrograph's defocus and astigmatism refined; a record of each group.

    Parameters
    ----------
    micrograph : integer array (particles,)
        Micrograph of each particle.
    """
    done = counter("astigmatism", len(context.table), on_event)
    components, records = defocus_components(context), []
    for number, band, rows in groups(context):
        group = context.table.optics[number]
        optics = optics_of(group)
        basis = _basis(magnified(band.metric, optics), electron_wavelength(optics.voltage))
        sets = _by_micrograph(micrograph, rows)
        fits = [
            fit_phase(
                reduce(
                    PhaseSums.plus, (even_sums(*found.terms).total() for _, found in part)
                ).cpu(),
                basis,
                band.radius,
            )
            for _, part in groupby(compared(context, band, sets, done), itemgetter(0))
        ]
        shrunk = shrink(
            torch.stack([fit.values for fit in fits]),
            torch.stack([fit.information for fit in fits]),
        )
        for own, change in zip(sets, shrunk.values.numpy(), strict=True):
            components[own] += change
        astigmatism = 2 * shrunk.values[:, 1:].norm(dim=1).numpy()
        records.append(
            {
                "group": group.number,
                "micrographs": len(sets),
                "mean_defocus_change": _quantiles(shrunk.values[:, 0].abs().numpy()),
                "astigmatism_change": _quantiles(astigmatism),
                "astigmatism_error": _quantiles(2 * shrunk.errors[:, 1:].norm(dim=1).numpy()),
                "spread": shrunk.spread,
                **likelihood_ratio(sum(fit.gain for fit in fits), 3 * len(fits)),
            }
        )
    return with_defocus(context, components), records
