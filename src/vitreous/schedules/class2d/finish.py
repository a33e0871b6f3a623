"""The pass over all particles that ends a 2D classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.class_averages import ClassSums, averaged, signal_power
from vitreous.engine.model import renewed_noise
from vitreous.engine.searches.classes import ClassAssignments
from vitreous.runs.folder import OnEvent
from vitreous.schedules.class2d.context import Class2dContext
from vitreous.schedules.class2d.search import Placed, Searched, searched
from vitreous.schedules.class2d.state import ClassState
from vitreous.validate.fsc import correlation


@dataclass(frozen=True)
class Classified:
    """What a classification found, classes in the order of the search.

    Attributes
    ----------
    found : ClassAssignments
        Of all particles.
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

    found: ClassAssignments
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
    return searched(context, state, index, state.rings).result.found.log_evidence.cpu()


def finished(context: Class2dContext, state: ClassState, on_event: OnEvent) -> Classified:
    """Classes and poses of all particles, and the averages that follow from them."""

    def told(number: int) -> None:
        on_event({"event": "final_pass", "stage": "last pass", "iteration": number, "of": 2})

    told(0)
    held_out, halves = held_out_evidence(context, state), []
    for number, index in enumerate(_halves(context)):
        halves.append(_kept_of(searched(context, state, index, state.rings)))
        told(number + 1)
    return _ended(context, state, halves, held_out)


def _kept_of(half: Searched) -> tuple[Placed, ClassSums]:
    """What is kept of a half while the other is searched."""
    return half.placed(), half.result.sums


def _halves(context: Class2dContext) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Rows of two random halves."""
    first, second = (torch.from_numpy(np.sort(context.order[part::2])) for part in (0, 1))
    return first, second


def _ended(
    context: Class2dContext,
    state: ClassState,
    halves: Sequence[tuple[Placed, ClassSums]],
    held_out: Float[Tensor, " m"],
) -> Classified:
    """Averages of the halves and of both, and where every particle lies."""
    rings, fudge = state.rings, context.options.tau2_fudge
    placed, (one, other) = zip(*halves, strict=True)
    data, weight = one.data + other.data, one.weight + other.weight
    signal = signal_power(data, weight, rings)
    parts = ((data, weight), (one.data, one.weight), (other.data, other.weight))
    whole, *by_half = (averaged(d, w, fudge * signal) for d, w in parts)
    images = [context.pixels.images(part).cpu() for part in (whole, *by_half)]
    both = replace(one, **{n: getattr(one, n) + getattr(other, n) for n in ("residual", "count")})
    order = torch.cat([half.rows for half in placed]).argsort()  # the table's
    return Classified(
        ClassAssignments.joined([half.found for half in placed]).at(order),
        torch.cat([half.psi for half in placed])[order],
        torch.cat([half.origins for half in placed])[order],
        images[0],
        torch.stack(images[1:]),
        ring_correlation(*by_half)[:, :rings].cpu(),
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
