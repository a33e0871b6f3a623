"""What an ab initio job is given, and how each of its random starts begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.grid_search import Search
from vitreous.engine.maps import signal_scale
from vitreous.engine.mini_batches import Step
from vitreous.engine.state import SearchState
from vitreous.math.group_names import is_polyhedral
from vitreous.particles import groups
from vitreous.particles.loader import Room
from vitreous.runs.options import AUTO
from vitreous.schedules.abinit.schedule import (
    Round,
    angular_step,
    initial_resolution,
    larger_batches,
    last_angular_step,
    rounds,
    schedule,
    starts_of,
)
from vitreous.schedules.abinit.temperature import FIRST

_BLOBS = 12
"""Gaussians in a random starting map."""

_SHARE = 0.1
"""Of the images' power at low resolution that random maps are given."""

_HELD_OUT = 500
"""Most particles that the starts are compared on, at most a tenth of all."""


@dataclass(frozen=True)
class RunContext(Search):
    """The data and choices that stay the same throughout a job.

    Attributes
    ----------
    config : AbinitConfig
    last_room : Room
        For the images that poses are polished with.
    """

    config: AbinitConfig
    last_room: Room

    @property
    def polyhedral(self) -> bool:
        """Whether the group that is imposed is T, O or I."""
        return is_polyhedral(self.config.symmetry)

    @property
    def initial_resolution(self) -> float:
        """Resolution in angstrom that the search begins at."""
        return initial_resolution(self.config)

    @property
    def steps(self) -> list[Step]:
        """All iterations of a start."""
        particles = len(self.table) - held_out_count(len(self.table))
        return schedule(self.config, particles)

    @property
    def rounds(self) -> list[Round]:
        """When the starts are compared."""
        return rounds(len(self.steps), self.starts, polyhedral=self.polyhedral)

    @property
    def starts(self) -> int:
        """Random starts to be made."""
        return starts_of(self.config)

    @property
    def may_begin_anew(self) -> bool:
        """Whether starts with larger mini-batches follow where the first find nothing."""
        config = self.config
        free = config.starts == AUTO and config.initial_batch is None and config.final_batch is None
        return free and config.classes == 1 and config.effort != "low"

    def anew(self) -> RunContext:
        """The same with larger mini-batches."""
        first, last = larger_batches(self.config)
        return replace(self, config=replace(self.config, initial_batch=first, final_batch=last))

    @property
    def offsets(self) -> tuple[float, float]:
        """Range and step of the shifts, pixels of the maps' grid."""
        return self.config.offset_range, self.config.offset_step

    @property
    def solvent_flatten(self) -> bool:
        """Mask the solvent and keep density non-negative."""
        return self.config.solvent_flatten

    @property
    def leaves_out_junk(self) -> bool:
        """With several classes: junk would draw the map of the weakest away."""
        return self.config.classes > 1

    def angular_step(self, resolution: float) -> float:
        """Angular step in degrees for a resolution in angstrom."""
        return angular_step(self.config, resolution, self.frame, len(self.operators))

    @property
    def last_angular_step(self) -> float:
        """Angular step in degrees of the finer search near the best places."""
        return last_angular_step(self.config, self.frame, len(self.operators))


def random_maps(context: RunContext, seed: int) -> Float[Tensor, "k n n n"]:
    """Smooth random densities inside the mask, one for each class, at the images' signal level."""
    frame, rng = context.frame, np.random.default_rng(seed)
    axis = torch.arange(frame.box) - frame.box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    # As fine as the first iterations can see: a Gaussian's full width at half maximum.
    width = context.initial_resolution / 2.355 / frame.pixel_size
    maps = torch.zeros(context.config.classes, frame.box, frame.box, frame.box)
    for volume in maps:
        for _ in range(_BLOBS):
            direction = rng.normal(size=3)
            reach = 0.68 * frame.mask_radius * rng.uniform() ** (1 / 3)
            cx, cy, cz = direction / np.linalg.norm(direction) * reach
            squared = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
            volume += torch.exp(-squared / (2 * width**2))
    rings = frame.rings_at(context.initial_resolution)
    return (maps * signal_scale(maps, context.images, frame, rings, _SHARE)).to(context.device)


def first_state(context: RunContext, start: int) -> SearchState:
    """Random maps and the images' own power as noise."""
    classes, power = context.config.classes, context.image_power
    return SearchState(
        start=start,
        iteration=0,
        seen=0,
        rings=context.frame.rings_at(context.initial_resolution),
        maps=random_maps(context, iteration_seed(context.config, start, 0)),
        noise=power,
        scale=power.new_ones(len(power)),
        class_priors=torch.full((classes,), 1 / classes, device=context.device),
        sums=None,
        evidence=-math.inf,
        temperature=FIRST,
    )


def iteration_seed(config: AbinitConfig, start: int, iteration: int) -> int:
    """A seed of its own for every start and iteration, so that resuming needs no history."""
    sequence = np.random.SeedSequence([config.seed, start, iteration])
    return int(sequence.generate_state(1)[0])


def held_out_count(particles: int) -> int:
    """How many particles are held out of all mini-batches."""
    return min(_HELD_OUT, particles // 10)


def _split(context: RunContext) -> tuple[Int[np.ndarray, " h"], Int[np.ndarray, " r"]]:
    """Particles held out of all mini-batches, and the rest."""
    count = len(context.table)
    held = held_out_count(count)
    order = np.random.default_rng([context.config.seed, count]).permutation(count)
    return groups.held_out(order, context.image_numbers, held)


def held_out(context: RunContext) -> Int[Tensor, " h"]:
    """Particles that no mini-batch contains: the starts are compared on them."""
    return torch.from_numpy(_split(context)[0])


def mini_batches(
    context: RunContext, state: SearchState, sizes: Sequence[int]
) -> Iterator[Int[Tensor, " b"]]:
    """Next particles of a walk through random permutations, each mini-batch in stack order.

    The same for all starts, which then differ by their random density alone.
    """
    rest, position = _split(context)[1], state.seen
    for size in sizes:
        chosen: list[int] = []
        while len(chosen) < size:
            epoch, offset = divmod(position, len(rest))
            rng = np.random.default_rng([context.config.seed, epoch])
            part = rng.permutation(rest)[offset : offset + size - len(chosen)]
            chosen += part.tolist()
            position += len(part)
        yield torch.tensor(sorted(chosen))
