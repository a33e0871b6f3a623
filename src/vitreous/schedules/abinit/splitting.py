"""Classes that hold two molecules split, in the place of classes that hold nothing of their own.

One map may come to hold the particles of two molecules while another gathers junk or shows what a
third map shows already: no mini-batch leads out of that.  Two halves of its class, a little unlike
each other, share the two molecules out soon if they see these particles alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch, coarse_search
from vitreous.engine.loop import run_through
from vitreous.engine.mini_batches import Step, online
from vitreous.engine.sorting import SAME, alike, perturbed
from vitreous.engine.state import SearchState
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.context import RunContext, iteration_seed
from vitreous.schedules.abinit.schedule import joint_steps, split_steps
from vitreous.validate.decoys import roundness

_STARVED = 0.3
"""Part of an even share of the particles below which a class has collapsed."""

_BALL, _FEW = 0.95, 0.6
"""Roundness of a map and part of an even share from which and below which it gathers junk."""

_TO = 1.1
"""Classes that agree (FSC ``SAME``) to this many times the resolution reached are duplicates."""

_ALIKE, _BARELY = 1.5, 0.5
"""Classes that agree (FSC of the second) to the first times the final resolution are told apart by
passes over all of their particles."""

_APART = 1.3
"""Times the final resolution to which the halves of a class must agree (FSC of ``_BARELY``) for
their split to be refused."""

_STRONG, _WEAK = 0.5, 0.1
"""Norm of the random density that halves of a class get, over the map's own, for a search and for
such passes."""

_ROUNDS = 2
"""Most splits that are tried, times the number of classes."""

_SETTLED = 0.03
"""Share of the particles that change class in a round of mini-batches of all classes, up to which
the classes have settled."""

_SAME_PARTICLES = 0.7
"""Share of the particles of then or now that a class must hold then and now to be the same one: a
split that was refused is not tried again."""

_ATTEMPTS = 2
"""Most splits of a class that is the only one to hold particles, each from other random density:
with all molecules in one class a single split may fail to tell any two apart."""

_MOST_JOINT = 4
"""Most rounds of mini-batches of all classes after the last split."""

_LEAST_HALF = 0.2
"""Share of a class's particles that each half must come to hold."""


def _coarsely(
    context: RunContext, state: SearchState, before: AdaptiveSearch | None = None
) -> AdaptiveSearch:
    """All particles searched on the grid of the last iterations, near shifts found before."""
    centres = None if before is None else before.origins
    return coarse_search(context, state, context.config.ends_at, centres, any_map=True)


def labels_of(adaptive: AdaptiveSearch) -> Int[Tensor, " n"]:
    """Likeliest class of each particle, from 0; -1 for images of junk."""
    return torch.where(adaptive.junk, -1, adaptive.best.map_probability.argmax(dim=1).cpu())


def _shares(adaptive: AdaptiveSearch) -> Float[Tensor, " k"]:
    """Share of the particles in each class, junk left aside."""
    labels = labels_of(adaptive)
    counts = torch.bincount(labels[labels >= 0], minlength=adaptive.maps).double()
    return counts / counts.sum().clamp(min=1)


def fed_and_starved(shares: Float[Tensor, " k"]) -> tuple[list[int], list[int]]:
    """Classes with particles and without, the most populated first."""
    order = shares.argsort(descending=True).tolist()
    starved = [n for n in order if shares[n] * len(order) < _STARVED]
    return [n for n in order if n not in starved], starved


def _free(
    context: RunContext, state: SearchState, shares: Float[Tensor, " k"]
) -> tuple[list[int], list[int]]:
    """Classes that hold something of their own, the most populated first, and those that do not.

    A ball of few particles has gathered images without features.  Duplicates agree at a high FSC to
    nearly the resolution reached: conformations do not.
    """
    fed, starved = fed_and_starved(shares)
    few = [n for n in fed if shares[n] * len(shares) < _FEW]
    balls = [n for n in few if roundness(state.maps[n].cpu()) > _BALL]
    own = [n for n in fed if n not in balls]
    twice = alike(context.frame, state, own, _TO * context.frame.field / state.rings, SAME)
    return [n for n in own if n not in twice], [*starved, *balls, *twice]


def _batches(
    members: Int[Tensor, " m"], seed: int, size: int, count: int
) -> list[Int[Tensor, " b"]]:
    """Mini-batches of a walk through random permutations of some particles."""
    rng = np.random.default_rng(seed)
    epochs = -(-size * count // len(members))
    walk = np.concatenate([rng.permutation(members.numpy()) for _ in range(epochs)])
    return [torch.from_numpy(np.sort(walk[n * size : (n + 1) * size])) for n in range(count)]


def _parts(
    context: RunContext, state: SearchState, number: int, parts: Sequence[int], strength: float
) -> SearchState:
    """One class in the place of all, in parts that random density of a strength tells apart."""
    since = len(context.steps) + 1
    seeds = (iteration_seed(context.config, state.start, since + part) for part in parts)
    maps = [perturbed(state.maps[number], state.rings, seed, strength) for seed in seeds]
    even = torch.full_like(state.class_priors[: len(maps)], 1 / len(maps))
    return replace(state, maps=torch.stack(maps), class_priors=even)


def _halves(
    context: RunContext,
    state: SearchState,
    number: int,
    adaptive: AdaptiveSearch,
    attempt: int,
) -> SearchState:
    """Two maps from the particles of one class, found by mini-batches of these alone."""
    members = torch.nonzero(labels_of(adaptive) == number)[:, 0]
    halves = _parts(context, state, number, range(2 * attempt, 2 * attempt + 2), _STRONG)
    steps = split_steps(context.config, len(members))
    return _gone_on(context, halves, members, steps, adaptive.origins)


def _gone_on(
    context: RunContext,
    state: SearchState,
    members: Int[Tensor, " m"],
    steps: list[Step],
    centres: Float[Tensor, "n 2"],
) -> SearchState:
    """Maps brought on by mini-batches of some particles, whose shifts are known roughly."""
    since = len(context.steps) + 1
    walk = iteration_seed(context.config, state.start, since + state.iteration)
    batches = _batches(members, walk, steps[0].batch, len(steps))

    def seed(state: SearchState) -> int:
        return iteration_seed(context.config, state.start, since + 2 + state.iteration)

    iteration = online(context, steps, seed, centres=centres)
    return run_through(replace(state, sums=None), batches, iteration)


def _in_place(state: SearchState, source: int, slot: int, halves: SearchState) -> SearchState:
    """The halves of a class in its own place and in that of another, with the particles of both."""
    maps, class_priors = state.maps.clone(), state.class_priors.clone()
    places = [source, slot]
    maps[places] = halves.maps
    class_priors[places] = class_priors[places].sum() * halves.class_priors
    return replace(state, maps=maps, class_priors=class_priors)


def _joint(
    context: RunContext, state: SearchState, adaptive: AdaptiveSearch, among: list[int]
) -> tuple[SearchState, AdaptiveSearch, float]:
    """Some maps brought on together, what is then found, and the share of labels that changed."""
    before, share = labels_of(adaptive), state.class_priors[among].sum()
    members = torch.nonzero(before >= 0)[:, 0]
    steps = joint_steps(context.config, len(among), len(members))
    part = _gone_on(context, state.among(among), members, steps, adaptive.origins)
    maps, class_priors = state.maps.clone(), state.class_priors.clone()
    maps[among], class_priors[among] = part.maps, share * part.class_priors
    state = replace(part, maps=maps, class_priors=class_priors)
    adaptive = _coarsely(context, state, adaptive)
    return state, adaptive, float((labels_of(adaptive) != before).double().mean())


def _refusals(
    refused: list[tuple[int, Bool[Tensor, " n"]]], number: int, labels: Int[Tensor, " n"]
) -> int:
    """How often the split of a class was refused that held most of the particles it holds now."""
    now = labels == number
    held = [before for source, before in refused if source == number]
    same = [(one & now).sum() >= _SAME_PARTICLES * (one | now).sum() for one in held]
    return sum(map(bool, same))


def split_classes(
    context: RunContext, state: SearchState, on_event: OnEvent
) -> tuple[SearchState, AdaptiveSearch]:
    """Split classes, the most populated first, as long as others hold nothing of their own.

    A split is kept if both halves hold particles and show different maps; conformations, which are
    alike, are told apart later.  All maps then go on together until few particles change class.

    Returns
    -------
    The state, whose class priors are the shares of the particles that are no junk, and what a
    search of all particles finds with its maps.
    """
    adaptive, changed = _coarsely(context, state), 0.0
    refused: list[tuple[int, Bool[Tensor, " n"]]] = []
    joined = False
    most = _ROUNDS * len(state.maps)

    def tell(event: dict[str, object], number: int) -> None:
        of = most + _MOST_JOINT
        place = {"stage": "classes split", "start": state.start + 1}
        on_event({**place, "iteration": number, "at_most": of, "share": number / of, **event})

    for number in range(most):
        own, free = _free(context, state, _shares(adaptive))
        labels = labels_of(adaptive)
        attempts = _ATTEMPTS if len(own) == 1 else 1
        sources = [n for n in own if _refusals(refused, n, labels) < attempts]
        if not free or not sources:
            break
        source, slot = sources[0], free[0]
        halves = _halves(context, state, source, adaptive, number)
        fine = float(halves.class_priors.min()) >= _LEAST_HALF
        limit = _APART * context.config.ends_at
        kept = fine and not alike(context.frame, halves, [0, 1], limit, _BARELY)
        shares = halves.class_priors.tolist()
        tell({"event": "split", "class": source + 1, "kept": kept, "shares": shares}, number + 1)
        if kept:
            state = _in_place(state, source, slot, halves)
            state, adaptive, changed = _joint(context, state, adaptive, [*own, slot])
            joined = True
        else:
            refused.append((source, labels == source))
    for number in range(_MOST_JOINT):
        own, _ = _free(context, state, _shares(adaptive))
        if changed <= _SETTLED or not own:
            break
        state, adaptive, changed = _joint(context, state, adaptive, own)
        shares = state.class_priors.tolist()
        tell({"event": "joint", "changed": changed, "shares": shares}, most + number + 1)
    if joined:
        adaptive = _coarsely(context, state)  # labels and places of all shifts
    held = _shares(adaptive).to(state.class_priors)
    return (replace(state, class_priors=held) if held.any() else state), adaptive


def like_groups(context: RunContext, state: SearchState) -> list[list[int]]:
    """After the iterations: classes that agree beyond the final resolution, the largest first.

    A class that starved is put with the largest.
    """
    fed, starved = fed_and_starved(state.class_priors)
    like = alike(context.frame, state, fed, _ALIKE * context.config.ends_at, _BARELY)
    groups = {n: [n] for n in fed if n not in like}
    for number, first in (like | dict.fromkeys(starved, fed[0])).items():
        groups[first].append(number)
    return [group for group in groups.values() if len(group) > 1]


def halves_of(context: RunContext, state: SearchState, group: list[int]) -> SearchState:
    """The state with the classes of a group alone, all made from the first, a little different."""
    return _parts(context, state, group[0], group, _WEAK)
