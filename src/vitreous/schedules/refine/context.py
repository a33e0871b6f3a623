"""What stays the same throughout a refinement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.refine import RefineConfig
from vitreous.engine.images import CtfMode, Frame, working_frame
from vitreous.engine.local_pass import PoseMatrices
from vitreous.particles.grid import Grid
from vitreous.particles.groups import Halves
from vitreous.particles.loader import Room
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.runs.folder import OnEvent, ignore
from vitreous.schedules.refine.locality import Locality

AnyImages = TypeVar("AnyImages")
Load = Callable[
    [ParticleSet, ImageSource, Frame, torch.device, OnEvent, CtfMode, Room | None], AnyImages
]

SHARED_POSES = (
    "The search begins at poses that were found before these halves were dealt. If they were "
    "refined against one map of all particles, as in abinit or classify3d, both halves begin with "
    "that map's noise, and the FSC between them may be too good. Halves are independent from a "
    "search of all orientations, or from poses of a refinement that wrote these halves."
)
"""Warning of a search round poses by halves that were not apart when the poses were found."""


@dataclass(frozen=True)
class RunContext:
    """The particles, how they are halved, and the choices made for them.

    Attributes
    ----------
    config : RefineConfig
    table : ParticleSet
    source : ImageSource
    halves : Halves
    operators : tensor (operators, 3, 3)
    mask_diameter : float
        Angstrom, of the images' mask.
    mask : tensor (m, m, m) or None
        Of the map, if one was given.
    device : torch.device
    grid : Grid
        Of the maps.
    locality : Locality or None
        Of a local search.
    room : Room
        For the images.
    """

    config: RefineConfig
    table: ParticleSet
    source: ImageSource
    halves: Halves
    operators: Float[Tensor, "s 3 3"]
    mask_diameter: float
    mask: Float[Tensor, "m m m"] | None
    device: torch.device
    grid: Grid
    locality: Locality | None = None
    room: Room = field(default_factory=Room)

    @property
    def half(self) -> Int[Tensor, " n"]:
        """Half of each particle, 0 or 1."""
        return torch.from_numpy(self.halves.half - 1)

    @property
    def mode(self) -> CtfMode:
        """What the images' CTFs are taken to be."""
        return CtfMode.of(self.config)

    @property
    def field(self) -> float:
        """Width of the field of view, angstrom."""
        return self.grid.field

    @property
    def most_shells(self) -> int:
        """Shells that the pixels, or the option, allow."""
        return self.widest.polar.rings

    @property
    def widest(self) -> Frame:
        """Working box that holds all of these shells."""
        return self.frame(self.config.resolution_limit or 1e-3)

    def frame(self, resolution: float) -> Frame:
        """Working box for a resolution in angstrom."""
        return working_frame(self.grid, self.mask_diameter, resolution)

    def frame_of(self, shells: int) -> Frame:
        """Working box for a number of shells, or as many as there are."""
        return self.frame(self.field / min(shells, self.most_shells))

    def offsets(self, frame: Frame) -> tuple[float, float]:
        """Range and step of the shifts in a frame's pixels."""
        pixel = self.grid.pixel_size / frame.pixel_size
        return self.config.offset_range * pixel, self.config.offset_step * pixel

    def read(self, load: Load[AnyImages], frame: Frame) -> AnyImages:
        """All images in a frame, by what loads them on its rings or half-planes."""
        return load(self.table, self.source, frame, self.device, ignore, self.mode, self.room)

    def members(self, half: int) -> Int[Tensor, " b"]:
        """Particles of a half."""
        return torch.nonzero(self.half == half)[:, 0]

    @property
    def both_halves(self) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
        """Particles of each half."""
        return self.members(0), self.members(1)


@dataclass(frozen=True)
class Begun:
    """All that a refinement begins with.

    Attributes
    ----------
    context : RunContext
    reference : tensor (n, n, n)
        With all its detail, on the maps' grid.
    poses : PoseMatrices or None
        That the particles bring, origins in angstrom.
    warnings : list of str
    preflight : dict
    """

    context: RunContext
    reference: Float[Tensor, "n n n"]
    poses: PoseMatrices | None
    warnings: list[str]
    preflight: dict[str, Any]
