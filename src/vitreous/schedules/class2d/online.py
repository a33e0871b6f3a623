"""Online EM: class averages after each mini-batch of particles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.config.classify2d import Class2dOptions
from vitreous.engine.class_averages import averaged, centre_of_density, shifted, signal_power
from vitreous.engine.class_pass import ClassPass
from vitreous.engine.images import Frame
from vitreous.engine.loop import Iteration, run
from vitreous.engine.model import renewed_noise, renewed_scale
from vitreous.runs.folder import OnEvent
from vitreous.schedules.class2d.context import Class2dContext
from vitreous.schedules.class2d.search import searched
from vitreous.schedules.class2d.starved import begun_anew
from vitreous.schedules.class2d.state import ClassState

_FIRST = 20
"""Most particles that each class begins with the mean of."""

_DETAILS = 8
"""Details across the mask that the first iterations compare."""

_GROWING = 0.6
"""Part of the iterations in which detail grows, and class similarity falls to 0."""

_FIRST_STEP, _LAST_STEP = 0.5, 0.15
"""Step sizes of stepwise EM at the first iterations, and from then on."""

_LARGE, _LARGE_BATCH, _LARGE_STEP = 5, 100, 0.5
"""Iterations over large batches that follow, particles a class in these, and their step size: 1,
which is EM, where a batch is all there are."""

_FIRST_BATCH = 0.25
"""Size of the first mini-batch, over that of the last."""

_SURE = 0.5
"""Posterior of a class from which an image counts for its size."""

_NOISE_RATE = 0.5
"""Share of the noise spectra and contrasts renewed by each mini-batch."""


@dataclass(frozen=True)
class BatchStep:
    """One iteration.

    Attributes
    ----------
    first : int
        Particles of the mini-batches before it.
    batch : int
        Particles.
    resolution : float
        Angstrom.
    forget : float
        Share of the running sums that is dropped before the batch's are added (Cappe & Moulines,
        J. R. Stat. Soc. B 71, 593 (2009), equation 12).
    similarity : float
        Class similarity.
    """

    first: int
    batch: int
    resolution: float
    forget: float
    similarity: float


def batch_steps(options: Class2dOptions, classes: int, frame: Frame, seen: int) -> list[BatchStep]:
    """All iterations: batches grow, detail grows, class similarity falls; then large batches.

    ``seen`` are the particles that batches are taken from.
    """
    count, finest = options.iterations, options.resolution_limit
    coarsest = max(2 * frame.mask_radius * frame.pixel_size / _DETAILS, finest)
    steps, first = [], 0
    for number in range(count):
        part = number / max(count - 1, 1)
        grown = min(part / _GROWING, 1.0)
        batch = round(
            classes * options.batch_per_class * (_FIRST_BATCH + (1 - _FIRST_BATCH) * part)
        )
        steps.append(
            BatchStep(
                first,
                batch,
                1 / ((1 - grown) / coarsest + grown / finest),
                _FIRST_STEP if part < _GROWING / 3 else _LAST_STEP,
                options.class_similarity * (1 - grown),
            )
        )
        first += batch
    large = min(_LARGE_BATCH * classes, seen)
    step = _LARGE_STEP if large < seen else 1.0
    for _ in range(_LARGE):
        steps.append(BatchStep(first, large, finest, step, 0.0))
        first += large
    return steps


def all_steps(context: Class2dContext) -> list[BatchStep]:
    """All iterations of a classification."""
    seen = len(context.table) - len(context.held_out)
    return batch_steps(context.options, context.classes, context.search.frame, seen)


def first_state(context: Class2dContext) -> ClassState:
    """Every class the mean of some random particles, their CTFs allowed for."""
    search, classes = context.search, context.classes
    polar, device = search.frame.polar, search.device
    each = max(1, min(_FIRST, len(context.table) // classes))
    noise = search.images.power(len(context.table.optics)).to(device)
    shape = (classes, polar.rings, polar.half)
    data = torch.zeros(shape, dtype=torch.complex64, device=device)
    weight = torch.zeros(shape, device=device)
    for number in range(classes):
        rows = context.batch(number * each, each)
        samples, ctf = context.given.placed(
            rows, *search.images.at(rows, polar), polar, search.frame.box
        )
        over = 1 / (noise[search.images.group[rows]] * search.images.mask_share)[:, :, None]
        data[number] = (samples * ctf * over).sum(dim=0)
        weight[number] = (ctf**2 * over).sum(dim=0)
    even = torch.full((classes,), 1 / classes, device=device)
    scale = torch.ones(len(noise), device=device)
    state = ClassState(data, noise, scale, even, data, weight, even, 0, 0, [], 0)
    rings = search.frame.rings_at(all_steps(context)[0].resolution)
    return replace(state, averages=solved(context, data, weight, rings), rings=rings)


def solved(
    context: Class2dContext, data: Tensor, weight: Tensor, rings: int
) -> Complex[Tensor, "k rings half"]:
    """Averages that sums give, regularised."""
    prior = context.options.tau2_fudge * signal_power(data, weight, rings)
    return averaged(data, weight, prior)


def recentred(context: Class2dContext, data: Tensor, weight: Tensor, rings: int) -> Tensor:
    """Sums whose averages have their centre of mass in the centre of the box."""
    prior = context.options.tau2_fudge * signal_power(data, weight, rings)
    centre = centre_of_density(context.pixels.nearly(averaged(data, weight, prior)))
    return shifted(data, -centre, context.search.frame)


def sure_shares(by_class: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Share of each class of the images that are in one class rather than in all others.

    Images of nothing are a little in every class, and would keep those alive that hold no other.
    """
    sure = by_class.where(by_class > _SURE, 0.0).sum(dim=0)
    return sure / sure.sum().clamp(min=1e-20)


def updated(
    context: Class2dContext, state: ClassState, step: BatchStep, result: ClassPass
) -> ClassState:
    """The state after a mini-batch: running sums, averages, noise, contrasts and shares."""
    options, sums, forget = context.options, result.sums, step.forget
    rings = context.search.frame.rings_at(step.resolution)
    kept = 0.0 if state.iteration == 0 else 1 - forget
    data, weight = kept * state.data + sums.data, kept * state.weight + sums.weight
    shares = (1 - forget) * state.shares + forget * sure_shares(result.found.by_class)
    pairs: list[tuple[int, int]] = []
    if state.iteration > 0:
        seed = options.seed * 1000 + state.iteration
        data, weight, pairs = begun_anew(data, weight, shares, seed)
    for anew, half in pairs:
        shares[anew] = shares[half] = (shares[anew] + shares[half]) / 2
    if options.recentre and options.align:
        data = recentred(context, data, weight, rings)
    return replace(
        state,
        averages=solved(context, data, weight, rings),
        noise=renewed_noise(state.noise, sums, context.search.images.mask_share, _NOISE_RATE),
        scale=renewed_scale(state.scale, sums, _NOISE_RATE),
        shares=shares,
        data=data,
        weight=weight,
        iteration=state.iteration + 1,
        rings=rings,
        sizes=[*state.sizes, [round(value, 5) for value in shares.tolist()]],
        begun_anew=state.begun_anew + len(pairs),
    )


def _told(state: ClassState, step: BatchStep, of: int, found: ClassPass) -> dict[str, object]:
    """What a job tells of an iteration."""
    return {
        "event": "classification",
        "stage": "mini-batches",
        "iteration": state.iteration,
        "of": of,
        "resolution": round(step.resolution, 2),
        "particles": step.batch,
        "largest_class": round(float(state.shares.max()), 4),
        "begun_anew": state.begun_anew,
        "log_likelihood": float(found.found.log_evidence.mean()),
    }


def went_through(
    context: Class2dContext,
    state: ClassState,
    on_event: OnEvent,
    keep: Callable[[ClassState], None],
) -> ClassState:
    """The state after all mini-batches; ``keep`` is given what each leaves."""
    every = all_steps(context)
    steps: Sequence[BatchStep] = every[state.iteration :]
    batches: list[Int[Tensor, " b"]] = [context.batch(step.first, step.batch) for step in steps]

    def expectation(now: ClassState, number: int, index: Tensor) -> ClassPass:
        step = steps[number]
        rings = context.search.frame.rings_at(step.resolution)
        return searched(context, now, index, rings, step.similarity).result

    def maximisation(now: ClassState, number: int, _: Tensor, found: ClassPass) -> ClassState:
        return updated(context, now, steps[number], found)

    for number, (now, found) in enumerate(
        run(state, batches, Iteration(expectation, maximisation))
    ):
        state = now
        keep(state)
        on_event(_told(state, steps[number], len(every), found))
    return state
