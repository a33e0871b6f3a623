"""What the finished starts say together: their maps, poses and classes compared."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitreous.engine.contrast import contrast_score
from vitreous.engine.images import Frame
from vitreous.engine.junk import held_classes, noise_probability
from vitreous.engine.state import SearchState
from vitreous.imaging.masks import soft_sphere
from vitreous.schedules.abinit.classify import Classified
from vitreous.schedules.abinit.context import RunContext
from vitreous.schedules.abinit.evidence import Evidence, Sorted, Stopped, agrees_to
from vitreous.schedules.abinit.starts import Trial, tried
from vitreous.validate.decoys import roundness
from vitreous.validate.labels import adjusted_rand_index, contingency, matched
from vitreous.validate.reproducibility import (
    Agreement,
    agreement,
    agreement_with_mirror,
    posed_alike,
)

_COMPARED = 0.8
"""Share of the particles whose classes two starts must both have to agree: the others may hold junk
or halves of one molecule, which come out otherwise each time."""

SAME_POSE = 2.0
"""Poses count as the same within this many angular steps: each may be one off its true place."""

Volume = Float[Tensor, "n n n"]


def _by_class(
    moving: SearchState, fixed: SearchState, mask: Volume, frame: Frame
) -> dict[int, Agreement]:
    """How far each class of one start agrees with the nearest of another."""
    finest = frame.field / min(moving.rings, fixed.rings)
    found = {}
    for wanted in held_classes(fixed.class_priors):
        target = fixed.maps[wanted].cpu()
        tries = (
            agreement(moving.maps[n].cpu(), target, mask, frame.pixel_size, finest=finest)
            for n in held_classes(moving.class_priors)
        )
        found[wanted] = min(tries, key=lambda one: one.resolution)
    return found


def _agreement(found: dict[int, Agreement], class_priors: Float[Tensor, " k"]) -> Agreement:
    """The worst of the classes that agree best and hold most of the particles together."""
    order = sorted(found, key=lambda n: found[n].resolution)
    held = np.cumsum(class_priors.cpu().numpy()[order])
    return found[order[int(np.argmax(held >= _COMPARED * held[-1]))]]


def _posed_alike(
    context: RunContext, trial: Trial, best: Trial, compared: Bool[Tensor, " h"]
) -> float:
    """Share of some held-out particles whose poses agree."""
    grid = context.places(context.config.ends_at).orientations

    def poses(one: Trial) -> Tensor:
        place = one.best.reference.cpu() % len(grid.directions)
        return grid.matrices(place, one.best.psi.cpu())[compared]

    limit = SAME_POSE * context.angular_step(context.config.ends_at)
    return posed_alike(poses(trial), poses(best), context.operators, limit)


def _sorted_alike(one: Classified, best: Classified, classes: int, shared: list[int]) -> Sorted:
    """Of the particles that the likeliest start is certain of, in classes that both have.

    Two right starts put a particle into the same class no more often than its posterior says.
    Images that either takes for junk are left out.
    """
    both = (one.labels >= 0) & (best.labels >= 0)
    for further in (best.certain, torch.isin(best.labels, torch.tensor(shared, dtype=torch.long))):
        both = both & further if (both & further).any() else both
    table = contingency(one.labels[both].numpy(), best.labels[both].numpy(), classes)
    certain = float(best.certain[best.labels >= 0].double().mean())
    return Sorted(matched(table)[1], adjusted_rand_index(table), certain)


def stopped_starts(context: RunContext, states: list[SearchState]) -> tuple[Stopped, ...]:
    """Those of all starts that were not finished, and why."""
    most, of = max(state.rounds for state in states), len(context.steps)
    return tuple(
        Stopped(state.start + 1, state.iteration, of, state.behind)
        for state in states
        if state.rounds < most
    )


def gather_evidence(
    context: RunContext,
    states: list[SearchState],
    classified: list[Classified],
    stopped: tuple[Stopped, ...],
) -> Evidence:
    """Compare the maps, poses and classes of all finished starts.

    Parameters
    ----------
    context : RunContext
    states : list of SearchState
        Of the finished starts.
    classified : list of Classified
        What the sorting into classes made of them; empty for a single class.
    stopped : tuple of Stopped
        The starts that were not finished.
    """
    frame = context.frame
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    trials = tried(context, states, context.config.ends_at)
    evidences = [trial.evidence for trial in trials]
    best = int(np.argsort(evidences, kind="stable")[-1])
    pairwise: list[list[Agreement | None]] = [[None] * len(states) for _ in states]
    by_class: dict[tuple[int, int], dict[int, float]] = {}
    for less, more in combinations(np.argsort(evidences, kind="stable").tolist(), 2):
        classes = _by_class(states[less], states[more], mask, frame)
        found = _agreement(classes, states[more].class_priors)
        by_class[less, more] = {n: one.resolution for n, one in classes.items()}
        pairwise[less][more] = pairwise[more][less] = found
    noisy = noise_probability(trials[best].best.log_evidence.cpu()) > 0.5
    compared = ~noisy | noisy.all()
    limit = agrees_to(context.config.ends_at)

    def shared(number: int) -> list[int]:
        return [n for n, found in by_class[number, best].items() if found <= limit]

    own = float("inf")  # a single start is not judged by it
    first = states[best].maps[held_classes(states[best].class_priors)[0]].cpu()
    if len(states) > 1:
        finest = frame.field / states[best].rings
        own = agreement_with_mirror(first, mask, frame.pixel_size, finest)
    return Evidence(
        starts=[state.start + 1 for state in states],
        best=best,
        pairwise=pairwise,
        log_likelihoods=evidences,
        posed_alike=[
            None if one is None else _posed_alike(context, trial, trials[best], compared)
            for trial, one in zip(trials, (row[best] for row in pairwise), strict=True)
        ],
        sorted_alike=[
            None
            if n == best
            else _sorted_alike(one, classified[best], context.config.classes, shared(n))
            for n, one in enumerate(classified)
        ]
        or [None] * len(states),
        own_mirror=own,
        contrast=contrast_score(context.images, frame),
        final_resolution=context.config.ends_at,
        held_out=int(compared.sum()),
        by_class=[by_class.get((n, best)) for n in range(len(states))],
        stopped=stopped,
        roundness=roundness(first),
        certainty=float(trials[best].best.probability.mean()),
    )
