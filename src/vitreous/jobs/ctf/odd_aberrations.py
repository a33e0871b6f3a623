"""Beam tilt and trefoil of every optics group."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.images import optics_of
from vitreous.imaging.aberrations import added, zernike
from vitreous.imaging.ctf import Optics, coma_scale, magnified
from vitreous.jobs.ctf.comparison import RunContext
from vitreous.jobs.ctf.sweep import compared, counter, groups, with_group
from vitreous.particles.optics import OpticsGroup
from vitreous.runs.folder import OnEvent
from vitreous.validate.optics.phase_fit import PhaseFit, PhaseSums, fit_phase, odd_sums
from vitreous.validate.optics.phase_picture import phase_pictures
from vitreous.validate.optics.significance import wald

_TREFOIL = ((-3, 3), (3, 3))
"""Zernike orders (m, n) of trefoil's sine and cosine."""


@dataclass(frozen=True)
class OddModel:
    """Phases that are fitted: a shift common to all images, tilt along x and y, trefoil.

    The shift is what poses have taken of the coma in their refinement.
    """

    beam_tilt: bool
    trefoil: bool

    @property
    def parts(self) -> dict[str, slice]:
        """Where each aberration's two terms stand."""
        names = [n for n in ("beam_tilt", "trefoil") if getattr(self, n)]
        return {name: slice(2 * i, 2 * i + 2) for i, name in enumerate(names, 1)}

    def basis(self, points: Float[Tensor, "p 2"], optics: Optics) -> Float[Tensor, "p t"]:
        """Phase of each term at frequencies in 1/angstrom: per angstrom, mrad and coefficient."""
        columns = [-2 * math.pi * points]
        if self.beam_tilt:
            columns.append(coma_scale(optics) * (points**2).sum(-1, keepdim=True) * points)
        if self.trefoil:
            columns.append(torch.stack([zernike(m, n, points) for m, n in _TREFOIL], dim=1))
        return torch.cat(columns, dim=1)

    def applied(self, group: OpticsGroup, values: list[float]) -> dict[str, Any]:
        """Values of an optics group with what was fitted added to them."""
        changes: dict[str, Any] = {}
        if self.beam_tilt:
            x, y = values[self.parts["beam_tilt"]]
            changes["beam_tilt"] = (group.beam_tilt[0] + x, group.beam_tilt[1] + y)
        if self.trefoil:
            more = dict(zip(_TREFOIL, values[self.parts["trefoil"]], strict=True))
            changes["odd_zernike"] = added(group.odd_zernike, more)
        return changes


def _without(information: Tensor, part: slice) -> Tensor:
    """Information on some terms once all the others are fitted too."""
    covariance = torch.linalg.pinv(information, hermitian=True)
    return torch.linalg.inv(covariance[part, part])


def _record(
    group: OpticsGroup, model: OddModel, fit: PhaseFit, halves: list[PhaseFit]
) -> dict[str, Any]:
    def part(found: PhaseFit, where: slice) -> list[float]:
        return found.values[where].tolist()

    errors = fit.covariance.diagonal().sqrt()
    record: dict[str, Any] = {
        "group": group.number,
        "shift": part(fit, slice(0, 2)),
        "gain": fit.gain,
    }
    for name, where in model.parts.items():
        record[name] = {
            "change": part(fit, where),
            "errors": errors[where].tolist(),
            "halves": [part(half, where) for half in halves],
            **wald(fit.values[where], _without(fit.information, where)),
        }
    return record


def refine_odd(
    context: RunContext, model: OddModel, on_event: OnEvent
) -> tuple[RunContext, list[dict[str, Any]], list[Float[np.ndarray, "3 s s"]]]:
    """Problem with each group's odd aberrations refined; a record and phase_pictures of each.

    A shift common to all of a group's images goes into their origins.
    """
    done = counter("odd aberrations", len(context.table), on_event)
    records, pictures = [], []
    for number, band, rows in groups(context):
        group = context.table.optics[number]
        optics = optics_of(group)
        sets = [part for part in (rows[context.half[rows] == h] for h in (0, 1)) if len(part)]
        halves = [
            reduce(PhaseSums.plus, (odd_sums(*found.terms).total() for _, found in part)).cpu()
            for _, part in groupby(compared(context, band, sets, done), itemgetter(0))
        ]
        whole = reduce(PhaseSums.plus, halves)
        points = magnified(band.metric, optics)
        basis = model.basis(points, optics)
        fit = fit_phase(whole, basis, band.radius)
        by_half = [fit_phase(part, basis, band.radius) for part in halves] if halves[1:] else []
        records.append(_record(group, model, fit, by_half))
        pictures.append(phase_pictures(whole, basis @ fit.values.float(), band.steps))

        values = fit.values.tolist()
        context = with_group(context, number, **model.applied(group, values))
        moved = np.reshape(group.mag_matrix, (2, 2)).T @ np.array(values[:2])
        origins = context.poses.origins.copy()
        origins[rows] -= moved
        context = replace(context, poses=replace(context.poses, origins=origins))
    return context, records, pictures
