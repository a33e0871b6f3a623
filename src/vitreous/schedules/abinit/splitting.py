"""Classes that hold two molecules split, in the place of classes that hold nothing of their own.

One map may come to hold the particles of two molecules while another gathers junk or shows what a
third map shows already: no mini-batch leads out of that.  Two halves of its class, a little unlike
each other, share the two molecules out soon if they see these particles alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.adaptive_search import AdaptiveSearch, coarse_search
from vitreous.engine.loop import run_through
from vitreous.engine.mini_batches import Step, online
from vitreous.engine.sorting import SAME, alike, perturbed
from vitreous.engine.state import SearchState
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.context import RunContext, iteration_seed
from vitreous.schedules.abinit.schedule import gather_steps, joint_steps, split_steps
from vitreous.validate.decoys import roundness

_Steps = Callable[[AbinitConfig, int, int], list[Step]]
"""Iterations, made for so many classes and particles."""

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

_STRONGEST, _STRONG, _WEAK = 1.0, 0.5, 0.1
"""Norm of the random density over the map's own: of a map begun anew, of halves of a class for a
search, and of those for such passes."""

_ROUNDS, _MOST_JOINT = 2, 4
"""Most splits and rounds of all classes: the first for each class, and the second."""

_SETTLED = 0.03
"""Share of the particles that change class in a round of mini-batches of all classes, up to which
the classes have settled."""

_SAME_PARTICLES = 0.7
"""Share of the particles of then or now that a class must hold then and now to be the same one: a
split that was refused is not tried again."""

_ATTEMPTS = 2
"""Most splits of a class that is the only one to hold particles, each from other random density:
with all molecules in one class a single split may fail to tell any two apart."""

_IN_VAIN = 1
"""Maps begun anew that gather nothing of their own, after which no other is."""

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


def _seed(context: RunContext, state: SearchState, number: int) -> int:
    """Seed of a draw after the iterations, each of its own number."""
    return iteration_seed(context.config, state.start, len(context.steps) + 1 + number)


def _parts(
    context: RunContext, state: SearchState, number: int, parts: Sequence[int], strength: float
) -> SearchState:
    """One class in the place of all, in parts that random density of a strength tells apart."""
    seeds = (_seed(context, state, part) for part in parts)
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
    walk = _seed(context, state, state.iteration)
    batches = _batches(members, walk, steps[0].batch, len(steps))

    def seed(state: SearchState) -> int:
        return _seed(context, state, 2 + state.iteration)

    iteration = online(context, steps, seed, centres=centres)
    return run_through(replace(state, sums=None), batches, iteration)


@dataclass(frozen=True)
class _Sorted:
    """How far the classes have come.

    Attributes
    ----------
    state : SearchState
    adaptive : AdaptiveSearch
        What a search of all particles found with its maps.
    changed : float
        Share of the particles whose class the last round of all classes changed.
    refused : tuple of pairs
        Classes whose split was refused, with a bool tensor of the particles that each held.
    in_vain : int
        Maps begun anew that gathered no particles of their own.
    """

    state: SearchState
    adaptive: AdaptiveSearch
    changed: float = 0.0
    refused: tuple[tuple[int, Bool[Tensor, " n"]], ...] = ()
    in_vain: int = 0

    def sources(self, own: list[int]) -> list[int]:
        """Of the classes that hold something of their own, those whose split is worth a trial."""
        attempts = _ATTEMPTS if len(own) == 1 else 1
        return [n for n in own if self._refusals(n) < attempts]

    def _refusals(self, number: int) -> int:
        """How often a split was refused of the class when it held most of what it holds now."""
        now = labels_of(self.adaptive) == number
        held = [before for source, before in self.refused if source == number]
        same = [(one & now).sum() >= _SAME_PARTICLES * (one | now).sum() for one in held]
        return sum(map(bool, same))


def _joint(context: RunContext, now: _Sorted, among: list[int], make: _Steps) -> _Sorted:
    """Some maps brought on together by all particles that are no junk, and what is then found."""
    state, before = now.state, labels_of(now.adaptive)
    members = torch.nonzero(before >= 0)[:, 0]
    steps = make(context.config, len(among), len(members))
    part = _gone_on(context, state.among(among), members, steps, now.adaptive.origins)
    whole = state.with_part(among, part)
    state = replace(part, maps=whole.maps, class_priors=whole.class_priors)
    adaptive = _coarsely(context, state, now.adaptive)
    changed = float((labels_of(adaptive) != before).double().mean())
    return replace(now, state=state, adaptive=adaptive, changed=changed)


def _split(
    context: RunContext, now: _Sorted, own: list[int], source: int, slot: int, number: int
) -> tuple[_Sorted, dict[str, object]]:
    """A class split in two, one half in the place of another class.

    It is kept if both halves hold particles and show different maps; conformations, which are
    alike, are told apart later.
    """
    halves = _halves(context, now.state, source, now.adaptive, number)
    fine = float(halves.class_priors.min()) >= _LEAST_HALF
    limit = _APART * context.config.ends_at
    kept = fine and not alike(context.frame, halves, [0, 1], limit, _BARELY)
    shares = halves.class_priors.tolist()
    event = {"event": "split", "class": source + 1, "kept": kept, "shares": shares}
    if not kept:
        held = labels_of(now.adaptive) == source
        return replace(now, refused=(*now.refused, (source, held))), event
    begun = replace(now, state=now.state.with_part([source, slot], halves))
    return _joint(context, begun, [*own, slot], joint_steps), event


def _gathered(
    context: RunContext, now: _Sorted, own: list[int], slot: int, number: int
) -> tuple[_Sorted, dict[str, object]]:
    """A map begun anew in the place of another class, for what is spread over all the others.

    A molecule with a small part of every class cannot be split off any.  The map, random density
    laid on the mean of the others, is kept if it comes to hold something of its own.
    """
    state = now.state
    seed = _seed(context, state, 2 * number)
    maps, class_priors = state.maps.clone(), state.class_priors.clone()
    maps[slot] = perturbed(maps[own].mean(dim=0), state.rings, seed, _STRONGEST)
    class_priors[slot] = class_priors[own].mean()
    begun = replace(state, maps=maps, class_priors=class_priors / class_priors.sum())
    found = _joint(context, replace(now, state=begun), [*own, slot], gather_steps)
    kept = slot in _free(context, found.state, _shares(found.adaptive))[0]
    shares = found.state.class_priors.tolist()
    event = {"event": "gathered", "class": slot + 1, "kept": kept, "shares": shares}
    return (found if kept else replace(now, in_vain=now.in_vain + 1)), event


def split_classes(
    context: RunContext, state: SearchState, on_event: OnEvent
) -> tuple[SearchState, AdaptiveSearch]:
    """Split classes, the most populated first, as long as others hold nothing of their own.

    Where no split is kept any more, a map is begun anew among the others.  All maps then go on
    together until few particles change class; one that is left with nothing of its own meanwhile
    makes room again.

    Returns
    -------
    The state, whose class priors are the shares of the particles that are no junk, and what a
    search of all particles finds with its maps.
    """
    now = _Sorted(state, _coarsely(context, state))
    most = _ROUNDS * len(state.maps) + _MOST_JOINT
    for number in range(most):
        own, free = _free(context, now.state, _shares(now.adaptive))
        sources = now.sources(own)
        if free and sources:
            now, event = _split(context, now, own, sources[0], free[0], number)
        elif free and own and now.in_vain < _IN_VAIN:
            now, event = _gathered(context, now, own, free[0], number)
        elif own and now.changed > _SETTLED:
            now = _joint(context, now, own, joint_steps)
            shares = now.state.class_priors.tolist()
            event = {"event": "joint", "changed": now.changed, "shares": shares}
        else:
            break
        place = {"stage": "classes split", "start": state.start + 1, "iteration": number + 1}
        on_event({**place, "at_most": most, "share": (number + 1) / most, **event})
    # Where maps are new, labels and places of all shifts.
    adaptive = now.adaptive if now.state is state else _coarsely(context, now.state)
    held = _shares(adaptive).to(state.class_priors)
    return (replace(now.state, class_priors=held) if held.any() else now.state), adaptive


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
