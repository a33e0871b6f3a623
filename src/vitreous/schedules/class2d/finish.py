"""The passes over all particles that end a 2D classification."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.class_averages import averaged, signal_power
from vitreous.engine.class_pass import ClassPass, Given, InPlane, class_pass
from vitreous.engine.pass_ import renewed_noise, renewed_scale
from vitreous.engine.searches.classes import ClassEstimates
from vitreous.runs.folder import OnEvent
from vitreous.schedules.class2d.context import Class2dContext
from vitreous.schedules.class2d.online import solved
from vitreous.schedules.class2d.state import ClassState
from vitreous.validate.fsc import correlation

_TRIED = 1e-3
"""Posterior of a class from which the last pass tries it again."""


@dataclass(frozen=True)
class Classified:
    """What a classification found, classes in the order of the search.

    Attributes
    ----------
    found : ClassEstimates
        Of all particles, on the host.
    psi : tensor (particles,)
        Radians.
    origins : tensor (particles, 2)
        Working pixels.
    images : tensor (classes, b, b)
        Averages in the working box, masked and regularised.
    halves : tensor (2, classes, b, b)
        The same of random halves of the particles.
    fsc : tensor (classes, rings)
        Correlation of the halves on each ring.
    snr : tensor (classes, rings)
        Power of an average's signal over that of its noise.
    explained : tensor (classes, rings)
        Power that an average explains of its images, summed over these, over one image's noise.
    noise : tensor (groups, rings)
    scale : tensor (groups,)
    held_out : tensor (m,)
        Log-evidence of particles that no average had seen.
    """

    found: ClassEstimates
    psi: Float[Tensor, " n"]
    origins: Float[Tensor, "n 2"]
    images: Float[Tensor, "k b b"]
    halves: Float[Tensor, "2 k b b"]
    fsc: Float[Tensor, "k rings"]
    snr: Float[Tensor, "k rings"]
    explained: Float[Tensor, "k rings"]
    noise: Float[Tensor, "g rings"]
    scale: Float[Tensor, " g"]
    held_out: Float[Tensor, " m"]


def held_out_evidence(context: Class2dContext, state: ClassState) -> Float[Tensor, " m"]:
    """Log-evidence of particles that no mini-batch saw, against an empty class."""
    index = context.held_out
    if not len(index):
        return torch.zeros(0)
    places = context.everywhere(state.rings)
    return class_pass(context.search, state, places, index, context.given).found.log_evidence.cpu()


@dataclass(frozen=True)
class _LastPass:
    """The last pass over all particles, half by half.

    Attributes
    ----------
    rows : pair of integer tensors
        Particles of each half.
    halves : pair of ClassPass
    given : Given
    places : InPlane
    """

    rows: tuple[Int[Tensor, " a"], Int[Tensor, " b"]]
    halves: tuple[ClassPass, ClassPass]
    given: Given
    places: InPlane

    def found(self) -> ClassEstimates:
        """What was found of all particles, in the order of the table, on the host."""
        order = torch.cat(self.rows).argsort()

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(half.found, name).cpu() for half in self.halves])[order]

        return ClassEstimates(*(joined(name) for name in ClassEstimates.__dataclass_fields__))

    def psi(self, found: ClassEstimates) -> Float[Tensor, " n"]:
        """In-plane angles of all particles, radians."""
        if self.given.psi is not None:
            return self.given.psi
        return found.psi * (2 * math.pi / self.places.n_psi)

    def origins(self, found: ClassEstimates) -> Float[Tensor, "n 2"]:
        """Origins of all particles, working pixels."""
        if self.given.psi is not None:
            return self.given.origins
        return self.given.origins + self.places.shifts.cpu()[found.shift]


def finished(context: Class2dContext, state: ClassState, on_event: OnEvent) -> Classified:
    """Classes and poses of all particles, and the averages that follow from them."""

    def told(number: int) -> None:
        on_event({"event": "final_pass", "stage": "last passes", "iteration": number, "of": 2})

    told(0)
    held_out, search = held_out_evidence(context, state), context.search
    every, places = torch.arange(len(context.table)), context.everywhere(state.rings)
    coarse = class_pass(search, state, places, every, context.given)
    state = _renewed(context, state, coarse)
    told(1)
    given, places = context.given, context.near(state.rings)
    if context.options.align:
        given = _near(context, coarse.found)
    rows = _halves(context, coarse.found)
    first, second = (class_pass(search, state, places, index, given) for index in rows)
    told(2)
    return _ended(context, state, _LastPass(rows, (first, second), given, places), held_out)


def _renewed(context: Class2dContext, state: ClassState, result: ClassPass) -> ClassState:
    """The model that a pass over all particles gives."""
    sums = result.sums
    return replace(
        state,
        averages=solved(context, sums.data, sums.weight, state.rings),
        noise=renewed_noise(state.noise, sums, context.search.images.mask_share, 1.0),
        scale=renewed_scale(state.scale, sums, 1.0),
        class_priors=result.found.by_class.mean(dim=0),
    )


def _near(context: Class2dContext, found: ClassEstimates) -> Given:
    """Places near those of a coarse pass, and the classes that are not out of the question."""
    options = context.options
    shifts = context.shifts(options.offset_range, 2 * options.offset_step)
    allowed = found.by_class > _TRIED
    allowed.scatter_(1, found.number[:, None], True)
    return Given(shifts[found.shift].cpu(), allowed=allowed.cpu())


def _halves(
    context: Class2dContext, found: ClassEstimates
) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Rows of two random halves, those of a class next to each other."""
    number = found.number.cpu()
    half = torch.zeros(len(number), dtype=torch.bool)
    half[torch.from_numpy(context.order[::2].copy())] = True
    by_class = number.argsort(stable=True)
    return by_class[half[by_class]], by_class[~half[by_class]]


def _ended(
    context: Class2dContext, state: ClassState, last: _LastPass, held_out: Float[Tensor, " m"]
) -> Classified:
    """Averages of the halves and of both, and where every particle lies."""
    rings, fudge = state.rings, context.options.tau2_fudge
    one, other = (half.sums for half in last.halves)
    data, weight = one.data + other.data, one.weight + other.weight
    signal = signal_power(data, weight, rings)
    parts = ((data, weight), (one.data, one.weight), (other.data, other.weight))
    whole, *halves = (averaged(d, w, fudge * signal) for d, w in parts)
    images = [context.pixels.images(part).cpu() for part in (whole, *halves)]
    both = replace(one, **{n: getattr(one, n) + getattr(other, n) for n in ("residual", "count")})
    found = last.found()
    return Classified(
        found,
        last.psi(found),
        last.origins(found),
        images[0],
        torch.stack(images[1:]),
        ring_correlation(*halves)[:, :rings].cpu(),
        (signal * weight.mean(dim=2))[:, :rings].cpu(),
        (data.abs() ** 2 / weight.clamp(min=1e-6)).mean(dim=2)[:, :rings].cpu(),
        renewed_noise(state.noise, both, context.search.images.mask_share, 1.0).cpu(),
        state.scale.cpu(),
        held_out,
    )


def ring_correlation(
    a: Complex[Tensor, "k rings half"], b: Complex[Tensor, "k rings half"]
) -> Float[Tensor, "k rings"]:
    """Correlation of averages on each ring: Saxton & Baumeister, J. Microsc. 127, 127 (1982)."""
    cross, power_a, power_b = (
        part.sum(dim=2) for part in ((a * b.conj()).real, a.abs() ** 2, b.abs() ** 2)
    )
    return correlation(cross, power_a, power_b)
