"""What a search is given: particles, their images, options and a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.images import BEYOND, CtfMode, Frame, working_frame
from vitreous.engine.memory import IMAGES, MemoryPlan
from vitreous.engine.rings import load_rings
from vitreous.math.fourier import resample_map
from vitreous.math.symmetry import point_group
from vitreous.particles.grid import Grid, common_grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.folder import OnEvent
from vitreous.runs.options import AUTO
from vitreous.runs.replacement import CHECKPOINT
from vitreous.schedules.abinit.context import RunContext
from vitreous.schedules.abinit.memory import LAST_IMAGES, memory_plan


@dataclass(frozen=True)
class AbinitInputs:
    """What is to be searched, and how.

    Attributes
    ----------
    config : AbinitConfig
    table : ParticleSet
    source : ImageSource
    mask_diameter : float
        Angstrom.
    device : torch.device
    folder : Path
        For the checkpoint and intermediate maps.
    digest : str
        Digest of the particles, which a checkpoint is bound to.
    """

    config: AbinitConfig
    table: ParticleSet
    source: ImageSource
    mask_diameter: float
    device: torch.device
    folder: Path
    digest: str

    def in_folder(self, folder: Path) -> AbinitInputs:
        """The same with its files in another folder."""
        return replace(self, folder=folder)

    def under(self, group: str, final_resolution: float) -> AbinitInputs:
        """The same with a point group imposed, and a folder of its own within this one's."""
        config = replace(self.config, symmetry=group, final_resolution=final_resolution)
        return replace(self, config=config, folder=self.folder / f"under_{group}")

    @property
    def free(self) -> bool:
        """Whether no symmetry is imposed on the search."""
        return self.config.symmetry.upper() in ("C1", AUTO.upper())

    @property
    def grid(self) -> Grid:
        """Of the images, brought together."""
        return common_grid(self.table)

    @property
    def frame(self) -> Frame:
        """Of the search's maps."""
        return working_frame(self.grid, self.mask_diameter, self.config.ends_at, BEYOND)

    def checkpoint(self, on_event: OnEvent) -> Checkpoint:
        """Where the states are kept."""
        path = self.folder / CHECKPOINT
        return Checkpoint(path, self.config, inputs=self.digest, tell=on_event)

    @property
    def operators(self) -> Float[Tensor, "s 3 3"]:
        """Rotations of the point group that is imposed."""
        return point_group("C1" if self.free else self.config.symmetry)

    @property
    def memory(self) -> MemoryPlan:
        """What the search will hold at its fullest."""
        return memory_plan(self.config, self.table, self.frame, len(self.operators), self.device)

    def full_size(self, maps: Float[Tensor, "k n n n"]) -> Float[np.ndarray, "k m m m"]:
        """Maps on their grid, as images on it would show them."""
        found: np.ndarray = resample_map(maps.cpu(), self.grid.box).numpy()
        return found


def context_of(inputs: AbinitInputs, on_event: OnEvent) -> RunContext:
    """The images read, and all that stays the same throughout a search."""
    plan, frame = inputs.memory, inputs.frame
    on_event({"event": "memory", **plan.record()})
    mode, room = CtfMode.of(inputs.config), plan.room(IMAGES, spread=False)
    images = load_rings(inputs.table, inputs.source, frame, inputs.device, on_event, mode, room)
    return RunContext(
        inputs.table,
        frame,
        images,
        inputs.operators,
        inputs.device,
        plan.tiling,
        inputs.config,
        plan.room(LAST_IMAGES),
    )
