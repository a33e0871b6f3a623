"""Particles of rejected classes, compared once more with the classes that are worth keeping.

Beside the carbon's edge, or another particle, a good particle may be in a class of such images: the
class is rejected, and not all that is in it is junk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.class_fit import class_fit
from vitreous.engine.class_pass import Given
from vitreous.engine.image_fit import unlike_others
from vitreous.engine.searches.per_image import rows_put
from vitreous.schedules.class2d.context import Class2dContext
from vitreous.schedules.class2d.finish import Classified
from vitreous.schedules.class2d.measures import low_rings
from vitreous.schedules.class2d.search import Placed, searched
from vitreous.schedules.class2d.state import ClassState

_SURE = 0.1
"""Probability to be unlike the good classes' particles, up to which one of a rejected class is one
of them: most of such a class are not, so it takes more to believe that than to doubt the others."""


@dataclass(frozen=True)
class Sorted:
    """Particles in the classes that they are told to be in.

    Attributes
    ----------
    found : Classified
    unlike : tensor (particles,)
        Probability of each particle of a good class to show density that its average does not.
    moved : int
        Particles of rejected classes that good ones got.
    """

    found: Classified
    unlike: Float[Tensor, " n"]
    moved: int


def _among_good(
    context: Class2dContext, state: ClassState, good: Bool[Tensor, " k"], rows: Int[Tensor, " m"]
) -> Placed:
    """Where particles suit the good classes best."""
    number = torch.nonzero(good)[:, 0]
    held = number.to(state.averages.device)
    model = replace(state, averages=state.averages[held], class_priors=state.class_priors[held])
    again = searched(context, model, rows, state.rings)
    placed = again.placed()
    return replace(placed, found=replace(placed.found, number=number[placed.found.number]))


def _with(found: Classified, placed: Placed) -> Classified:
    """The same with some particles in another place."""
    rows = placed.rows
    return replace(
        found,
        found=found.found.put(rows, placed.found),
        psi=rows_put(found.psi, rows, placed.psi),
        origins=rows_put(found.origins, rows, placed.origins),
    )


def sorted_again(
    context: Class2dContext, state: ClassState, found: Classified, good: Bool[Tensor, " k"]
) -> Sorted:
    """Give good classes those particles of rejected ones that fit them as their own do.

    All are compared with the averages at low resolution (:func:`.class_fit.class_fit`).  Two
    particles in one image, or a piece of the carbon's edge, are near enough to one particle to join
    its class; these are told by the same comparison.

    Parameters
    ----------
    good : bool tensor (classes,)
        Which are not rejected.
    """
    member, unlike = good[found.found.number], torch.zeros(len(found.found.number))
    rows = torch.nonzero(~member)[:, 0]
    if not good.any():
        return Sorted(found, unlike, 0)
    tried = _among_good(context, state, good, rows) if len(rows) else None
    among = found if tried is None else _with(found, tried)
    coarse = low_rings(context.search.frame, found.fsc.shape[1]).stop
    given = Given(among.origins, among.psi)
    fit = class_fit(context.search, state, among.found.number, given, coarse)
    unlike[member] = unlike_others(fit.at(member)).sum(dim=1)
    if tried is None:
        return Sorted(found, unlike, 0)
    together = unlike_others(fit).sum(dim=1)[rows]
    alike = torch.nonzero(together <= _SURE)[:, 0]
    unlike[rows[alike]] = together[alike]
    return Sorted(_with(found, tried.at(alike)), unlike, len(alike))
