"""The memory that ab initio will take."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.images import Frame, finer_frame
from vitreous.engine.memory import MemoryPlan, half_planes, search_memory
from vitreous.engine.shards import Shards
from vitreous.particles.particle_set import ParticleSet
from vitreous.schedules.abinit.schedule import last_angular_step

LAST_IMAGES: Final = "images for the last maps"
"""Name of the images that poses are polished with, among what takes memory."""


def memory_plan(
    config: AbinitConfig,
    table: ParticleSet,
    frame: Frame,
    operators: int,
    device: torch.device,
) -> MemoryPlan:
    """Reckon what ab initio will hold at its fullest, in the last pass."""
    step = last_angular_step(config, frame, operators)
    plan = search_memory(
        config, config.classes, step, table, frame, operators, device, spread=False
    )
    last = finer_frame(frame, config.ends_at).polar.rings
    own = len(Shards.of(len(table), config.ranks).own_rows)
    return replace(plan, images=plan.images | {LAST_IMAGES: half_planes(own, last)})
