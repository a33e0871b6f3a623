"""What a 2D classification is given: checked, and brought to the working frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from vitreous.config.classify2d import Class2dOptions
from vitreous.engine.class_pass import ClassSearch
from vitreous.engine.images import CtfMode, Frame, working_frame
from vitreous.engine.memory import IMAGES, MemoryPlan, class2d_memory
from vitreous.engine.recorded import as_recorded
from vitreous.engine.rings import load_rings
from vitreous.jobs.class2d.checks import check_class2d, within_nyquist
from vitreous.ops.compiler import COMPILED, NOT_COMPILED
from vitreous.particles.grid import common_grid, grid_warnings
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.runs.folder import OnEvent
from vitreous.runs.options import device_for
from vitreous.schedules.class2d.context import Class2dContext


@dataclass(frozen=True)
class RunContext:
    """All that a 2D classification is given.

    Attributes
    ----------
    options : Class2dOptions
        With a resolution limit that the averages' grid holds.
    table : ParticleSet
    source : ImageSource
    frame : Frame
    device : torch.device
    mask_diameter : float
        Angstrom.
    warnings : list of str
    preflight : dict
        Its record.
    """

    options: Class2dOptions
    table: ParticleSet
    source: ImageSource
    frame: Frame
    device: torch.device
    mask_diameter: float
    warnings: list[str]
    preflight: dict[str, Any]

    @property
    def memory(self) -> MemoryPlan:
        """What the search will hold at its fullest."""
        options, table = self.options, self.table
        return class2d_memory(options, options.count(len(table)), table, self.frame, self.device)

    def among(self, table: ParticleSet) -> RunContext:
        """The same for some of the particles."""
        return replace(self, table=table, source=self.source.of(table))

    def loaded(self, on_event: OnEvent) -> Class2dContext:
        """Read the images: what the classification goes by."""
        plan = self.memory
        on_event({"event": "memory", **plan.record()})
        mode, room = CtfMode.of(self.options), plan.room(IMAGES)
        images = load_rings(self.table, self.source, self.frame, self.device, on_event, mode, room)
        search = ClassSearch(images, self.frame, self.device, plan.tiling)
        return Class2dContext(self.options, self.table, search)


def set_up(table: ParticleSet, source: ImageSource, options: Class2dOptions) -> RunContext:
    """Check everything that a 2D classification is given.

    Raises
    ------
    InputError, OptionError
        For the first thing that cannot be used, and for want of memory.
    """
    source = source.of(table)
    mask_diameter, warnings, checked = check_class2d(options, table, source)
    grid = common_grid(table)
    warnings += grid_warnings(table, grid)
    options, device = within_nyquist(options, grid), device_for(options.device)
    frame = working_frame(grid, mask_diameter, options.resolution_limit)
    if device.type == "cpu" and not COMPILED:
        warnings.append(NOT_COMPILED)
    recorded = as_recorded(source, ctf=options.ctf)
    context = RunContext(options, table, recorded, frame, device, mask_diameter, warnings, checked)
    context.memory.check(table.path)
    return context
