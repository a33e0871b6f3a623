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
from vitreous.engine.loop import run
from vitreous.engine.mini_batches import Drawn, Step, online
from vitreous.engine.pass_ import PassResult
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

_STRONG, _WEAK = 0.5, 0.1
"""Norm of the random density that halves of a class get, over the map's own, for a search and for
such passes."""

_ROUNDS = 3
"""Most splits and rounds of mini-batches of all classes, times the number of classes."""

_SETTLED = 0.03
"""Share of the particles that change class in a round of mini-batches of all classes, up to which
the classes have settled."""

_SAME_PARTICLES = 0.7
"""Share of the particles of then or now that a class must hold then and now to be the same one: a
split that was refused is not tried again."""

_ATTEMPTS = 2
"""Most splits of a class with much the same particles, each from other random density."""

_BEFORE_SPLIT, _MOST_JOINT = 1, 4
"""Most rounds of mini-batches of all classes in a row, besides that of a split: before the next
split, and where none is left to be tried."""

_LEAST_PART, _STARVES = 0.4, 0.1
"""Part of an even share of a class's particles that a part of it must come to hold, and below which
it is given up on the way."""


def _searched_again(context: RunContext, state: SearchState) -> AdaptiveSearch:
    """All particles searched on the grid of the last iterations."""
    return coarse_search(context, state, context.config.ends_at, any_map=True)


def labels_of(adaptive: AdaptiveSearch) -> Int[Tensor, " n"]:
    """Likeliest class of each particle, from 0; -1 for images of junk."""
    return torch.where(adaptive.junk, -1, adaptive.best.map_probability.argmax(dim=1).cpu())


def _shares(adaptive: AdaptiveSearch) -> Float[Tensor, " k"]:
    """Share of the particles in each class, junk left aside."""
    labels = labels_of(adaptive)
    counts = torch.bincount(labels[labels >= 0], minlength=adaptive.maps).double()
    return counts / counts.sum().clamp(min=1)


def _fed(shares: Float[Tensor, " k"]) -> tuple[list[int], list[int]]:
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
    fed, starved = _fed(shares)
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


def _apart(
    context: RunContext,
    state: SearchState,
    number: int,
    held: Bool[Tensor, " n"],
    attempt: int,
    count: int,
) -> SearchState:
    """So many maps from the particles of one class, found by mini-batches of these alone.

    Those that starve are dropped on the way.
    """
    members, first = torch.nonzero(held)[:, 0], attempt * len(state.maps)
    parts = _parts(context, state, number, range(first, first + count), _STRONG)
    steps = split_steps(context.config, len(members))
    return _gone_on(context, parts, members, steps, _STARVES / count)


def _gone_on(
    context: RunContext,
    state: SearchState,
    members: Int[Tensor, " m"],
    steps: list[Step],
    least: float = 0.0,
) -> SearchState:
    """Maps brought on by mini-batches of some particles, without those that fall below a share."""
    since = len(context.steps) + 1
    walk = iteration_seed(context.config, state.start, since + state.iteration)
    batches = _batches(members, walk, steps[0].batch, len(steps))

    def drawn(state: SearchState, step: Step) -> Drawn:
        return Drawn(iteration_seed(context.config, state.start, since + 2 + state.iteration))

    plain = online(context, steps, drawn)

    def maximisation(
        state: SearchState, number: int, index: Int[Tensor, " b"], result: PassResult
    ) -> SearchState:
        after = plain.maximisation(state, number, index, result)
        fed = torch.nonzero(after.class_priors >= least)[:, 0].tolist()
        return after if len(fed) == len(after.maps) else _among(after, fed)

    each = replace(plain, maximisation=maximisation)
    for after, _ in run(replace(state, sums=None), batches, each):
        state = after
        if least > 0 and len(state.maps) == 1:
            break
    return state


def _among(state: SearchState, numbers: list[int]) -> SearchState:
    """The state with some of its maps alone."""
    class_priors = state.class_priors[numbers]
    sums = None if state.sums is None else state.sums.among(numbers)
    maps, class_priors = state.maps[numbers], class_priors / class_priors.sum()
    return replace(state, maps=maps, class_priors=class_priors, sums=sums)


def _fed_parts(parts: SearchState, count: int) -> list[int]:
    """Of so many parts of a class those that hold particles, the most populated first."""
    order = parts.class_priors.argsort(descending=True).tolist()
    return [n for n in order if parts.class_priors[n] * count >= _LEAST_PART]


def _alike(context: RunContext, parts: SearchState, fed: list[int]) -> bool:
    """Whether several parts hold particles, and all of them show the same map."""
    like = alike(context.frame, parts, fed, _ALIKE * context.config.ends_at, _BARELY)
    return 0 < len(like) == len(fed) - 1


def _in_place(state: SearchState, places: list[int], parts: SearchState) -> SearchState:
    """Other maps in the places of some, with the particles of all of these."""
    maps, class_priors = state.maps.clone(), state.class_priors.clone()
    maps[places] = parts.maps
    class_priors[places] = class_priors[places].sum() * parts.class_priors
    return replace(state, maps=maps, class_priors=class_priors)


def _joint(
    context: RunContext, state: SearchState, adaptive: AdaptiveSearch, among: list[int]
) -> tuple[SearchState, AdaptiveSearch, float]:
    """Some maps brought on together, what is then found, and the share of labels that changed."""
    before = labels_of(adaptive)
    members = torch.nonzero(before >= 0)[:, 0]
    steps = joint_steps(context.config, len(among), len(members))
    part = _gone_on(context, _among(replace(state, sums=None), among), members, steps)
    whole = _in_place(state, among, part)
    state = replace(part, maps=whole.maps, class_priors=whole.class_priors, sums=None)
    adaptive = _searched_again(context, state)
    return state, adaptive, float((labels_of(adaptive) != before).double().mean())


def _source(
    own: list[int], tried: Sequence[Bool[Tensor, " n"]], labels: Int[Tensor, " n"]
) -> int | None:
    """Class to be split next: of those that were tried least often the most populated."""
    members = {n: labels == n for n in own}

    def times(number: int) -> int:
        now = members[number]
        same = [(then & now).sum() >= _SAME_PARTICLES * (then | now).sum() for then in tried]
        return sum(map(bool, same))

    left = [n for n in own if times(n) < _ATTEMPTS]
    return min(left, key=times, default=None)


def split_classes(
    context: RunContext, state: SearchState, on_event: OnEvent
) -> tuple[SearchState, AdaptiveSearch]:
    """Split classes, as long as others hold nothing of their own.

    A class is split into as many parts as there are places.  Those that hold particles are kept if
    they show different maps; conformations, which are alike, are told apart later.  All maps then
    go on together until few particles change class.

    Returns
    -------
    The state, and what a search of all particles finds with its maps.
    """
    adaptive, changed, in_a_row = _searched_again(context, state), 0.0, 0
    tried: list[Bool[Tensor, " n"]] = []
    most = _ROUNDS * len(state.maps)

    def tell(number: int, event: dict[str, object]) -> None:
        place = {"stage": "classes split", "start": state.start + 1, "iteration": number + 1}
        on_event({**place, "at_most": most, "share": (number + 1) / most, **event})

    for number in range(most):
        own, free = _free(context, state, _shares(adaptive))
        labels, settled = labels_of(adaptive), changed <= _SETTLED
        source = _source(own, tried, labels) if free else None
        if not own or (source is None and (settled or in_a_row >= _MOST_JOINT)):
            break
        if source is None or not (settled or in_a_row >= _BEFORE_SPLIT):
            state, adaptive, changed = _joint(context, state, adaptive, own)
            in_a_row += 1
            shares = state.class_priors.tolist()
            tell(number, {"event": "joint", "changed": changed, "shares": shares})
            continue
        held, count = labels == source, 1 + len(free)
        parts = _apart(context, state, source, held, number, count)
        fed, shares = _fed_parts(parts, count), parts.class_priors.tolist()
        same = _alike(context, parts, fed)
        kept = len(fed) > 1 and not same
        tell(number, {"event": "split", "class": source + 1, "kept": kept, "shares": shares})
        tried += [held] * (_ATTEMPTS if same and len(own) > 1 else 1)
        if kept:
            places = [source, *free][: len(fed)]
            state = _in_place(state, places, _among(parts, fed))
            state, adaptive, changed = _joint(context, state, adaptive, [*own, *places[1:]])
            in_a_row = 0
    return state, adaptive


def like_groups(context: RunContext, state: SearchState) -> list[list[int]]:
    """After the iterations: classes that agree beyond the final resolution, the largest first.

    A class that starved is put with the largest.
    """
    fed, starved = _fed(state.class_priors)
    like = alike(context.frame, state, fed, _ALIKE * context.config.ends_at, _BARELY)
    groups = {n: [n] for n in fed if n not in like}
    for number, first in (like | dict.fromkeys(starved, fed[0])).items():
        groups[first].append(number)
    return [group for group in groups.values() if len(group) > 1]


def halves_of(context: RunContext, state: SearchState, group: list[int]) -> SearchState:
    """The state with the classes of a group alone, all made from the first, a little different."""
    return _parts(context, state, group[0], group, _WEAK)
