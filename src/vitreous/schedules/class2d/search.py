"""Particles compared with classes: everywhere coarsely, and then finely near the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.class_pass import (
    ClassModel,
    ClassPass,
    Given,
    InPlane,
    class_estimates,
    class_pass,
)
from vitreous.engine.searches.classes import ClassAssignments
from vitreous.schedules.class2d.context import Class2dContext

_TRIED = 1e-4
"""Posterior of a class on a coarse grid from which it is tried on the fine one."""


@dataclass(frozen=True)
class Placed:
    """Where some particles are, on the host.

    Attributes
    ----------
    rows : integer tensor (particles,)
        Of the table.
    found : ClassAssignments
    psi : tensor (particles,)
        Radians.
    origins : tensor (particles, 2)
        Working pixels.
    """

    rows: Int[Tensor, " m"]
    found: ClassAssignments
    psi: Float[Tensor, " m"]
    origins: Float[Tensor, "m 2"]

    def at(self, some: Int[Tensor, " c"]) -> Placed:
        """The same of some of them."""
        return Placed(self.rows[some], self.found.at(some), self.psi[some], self.origins[some])


@dataclass(frozen=True)
class Searched:
    """What was found of some particles, and where.

    Attributes
    ----------
    index : integer tensor (particles,)
        Rows of the table.
    result : ClassPass
    given : Given
    places : InPlane
    """

    index: Int[Tensor, " b"]
    result: ClassPass
    given: Given
    places: InPlane

    @property
    def psi(self) -> Float[Tensor, " b"]:
        """In-plane angles, radians."""
        if self.given.psi is not None:
            return self.given.psi[self.index]
        return self.result.found.psi.cpu() * (2 * math.pi / self.places.n_psi)

    @property
    def origins(self) -> Float[Tensor, "b 2"]:
        """Working pixels."""
        before = self.given.origins[self.index]
        if self.given.psi is not None:
            return before
        return before + self.places.shifts.cpu()[self.result.found.shift.cpu()]

    def placed(self) -> Placed:
        """What is kept of it."""
        return Placed(self.index, self.result.found.assigned(), self.psi, self.origins)


def searched(
    context: Class2dContext,
    model: ClassModel,
    index: Int[Tensor, " b"],
    rings: int,
    similarity: float = 0.0,
) -> Searched:
    """What the classes tell of particles, out to so many rings.

    Poses that a coarse grid cannot tell apart are no place to compare fine detail at: a class
    would lose what only turns it.
    """
    coarse, search = context.everywhere(min(rings, context.coarse_rings)), context.search
    if not context.options.align or rings <= coarse.rings:
        places, given = replace(coarse, rings=rings), context.given
        result = class_pass(search, model, places, index, given, similarity)
        return Searched(index, result, given, places)
    given, number = _near(context, model, index, coarse)
    places = context.near(rings)
    order = number.argsort(stable=True)  # tiles are chosen among neighbours
    result = class_pass(search, model, places, index[order], given, similarity)
    back = order.argsort().to(search.device)
    return Searched(index, replace(result, found=result.found.at(back)), given, places)


def _near(
    context: Class2dContext, model: ClassModel, index: Int[Tensor, " b"], coarse: InPlane
) -> tuple[Given, Int[Tensor, " b"]]:
    """Places near those found on a coarse grid, the classes that are not out of the question, and
    the likeliest class of each particle."""
    found = class_estimates(context.search, model, coarse, index, context.given)
    allowed = torch.ones(len(context.table), found.by_class.shape[1], dtype=torch.bool)
    wanted = (found.by_class > _TRIED).scatter_(1, found.number[:, None], True)
    allowed[index] = wanted.cpu()
    origins = torch.zeros(len(context.table), 2)
    origins[index] = coarse.shifts[found.shift].cpu()
    return Given(origins, allowed=allowed), found.number.cpu()
