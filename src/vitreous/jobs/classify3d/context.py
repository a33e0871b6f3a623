"""What a classification is given: checked, and brought to the working frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.classify import Classify3dOptions
from vitreous.engine.images import BEYOND, CtfMode, Frame, working_frame
from vitreous.engine.junk import Label
from vitreous.engine.memory import MemoryPlan, search_memory
from vitreous.engine.recorded import as_recorded
from vitreous.errors import InputError, OptionError
from vitreous.imaging.masks import mask_in_box
from vitreous.jobs.classify3d.checks import asked_fixed, check_classify3d, within_box
from vitreous.math.symmetry import point_group
from vitreous.ops.compiler import COMPILED, NOT_COMPILED
from vitreous.particles.grid import common_grid, grid_warnings
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.runs.options import device_for
from vitreous.schedules.class3d.references import (
    Framed,
    Reference,
    compare_references,
    filtered,
    in_frame,
)
from vitreous.schedules.class3d.steps import MapMaking


@dataclass(frozen=True)
class RunContext:
    """All that a classification is given.

    Attributes
    ----------
    options : Classify3dOptions
        With a resolution limit that the working box holds.
    table : ParticleSet
    source : ImageSource
    frame : Frame
    references : list of Framed
    making : MapMaking
    operators : tensor (operators, 3, 3)
        Of the point group.
    device : torch.device
    mask_diameter : float
        Angstrom.
    warnings : list of str
    preflight : dict
        Its record.
    """

    options: Classify3dOptions
    table: ParticleSet
    source: ImageSource
    frame: Frame
    references: list[Framed]
    making: MapMaking
    operators: Float[Tensor, "s 3 3"]
    device: torch.device
    mask_diameter: float
    warnings: list[str]
    preflight: dict[str, Any]

    @property
    def mode(self) -> CtfMode:
        """What the images' CTFs are taken to be."""
        return CtfMode.of(self.options)

    @property
    def classes(self) -> int:
        """Classes that are made."""
        return self.options.count(len(self.references))

    @property
    def alone(self) -> bool:
        """Whether all classes come from one reference."""
        return len(self.references) == 1

    @property
    def first_resolution(self) -> float:
        """Resolution in angstrom that the references are filtered to."""
        return self.options.first_resolution(len(self.references))

    @property
    def first_rings(self) -> int:
        """Rings out to there."""
        return self.frame.rings_at(self.first_resolution)

    @property
    def memory(self) -> MemoryPlan:
        """What a search of all orientations will hold at its fullest."""
        maps, options = max(self.classes, len(self.references)), self.options
        return search_memory(
            options,
            maps,
            options.angular_sampling,
            self.table,
            self.frame,
            len(self.operators),
            self.device,
        )

    def recognised(self) -> list[dict[str, Any]]:
        """What references were recognised to be that show no molecule, for the record."""
        return [
            {
                "class": number + 1,
                "reference": reference.given.name,
                "kind": reference.decoy.kind,
                "reason": reference.decoy.reason,
                "fixed": number in self.making.fixed,
            }
            for number, reference in enumerate(self.references)
            if reference.decoy and not self.alone
        ]

    def decoys(self, labels: Sequence[Label]) -> set[int]:
        """Classes (from 0) given for junk: fixed ones, and free decoys that are balls still."""
        balls = {
            number
            for number, reference in enumerate(self.references)
            if reference.decoy and labels[number] == "sphere"
        }
        return balls.union(self.making.fixed)

    def first_maps(self) -> Float[Tensor, "k n n n"]:
        """References, filtered, in the working frame."""
        maps = filtered(self.references, self.frame, self.first_resolution)
        return self.making.allowed(maps.to(self.device))


def _in_working_box(mask: Float[Tensor, "m m m"], frame: Frame) -> Float[Tensor, "n n n"]:
    """A mask on the maps' grid, brought to the working box."""
    own, box = frame.grid.box, frame.box
    if tuple(mask.shape) != (own,) * 3:
        raise InputError(
            f"is {' x '.join(map(str, mask.shape))}, but the maps' grid is {own} px wide",
            where="the mask",
            hint="give a mask on the maps' grid, which is that of the particles",
        )
    return mask_in_box(mask, box)


def _fixed_maps(options: Classify3dOptions, references: Sequence[Framed]) -> list[int]:
    """References (from 0) whose maps stay as they are: those asked for, and decoys.

    Raises
    ------
    OptionError
        If no reference is left to be refined.
    """
    asked = asked_fixed(options, len(references))
    if len(references) == 1 or options.free_decoys:
        return asked
    found = {number for number, reference in enumerate(references) if reference.decoy}
    if len(found.union(asked)) == len(references):
        said = ", ".join(f"{r.given.name} {r.decoy.reason}" for r in references if r.decoy)
        raise OptionError(
            f"no reference shows a molecule that could be refined: {said}",
            where="--reference",
            hint="give a map of the molecule, or pass --free-decoys to refine them all the same",
        )
    return sorted(found.union(asked))


def _told_of_decoys(references: Sequence[Framed], fixed: list[int]) -> list[str]:
    """What was recognised as a decoy, and what becomes of it."""
    if len(references) == 1:
        return []
    return [
        f"Reference {number + 1}, {reference.given.name}, {reference.decoy.reason}. "
        + (
            "It is kept as it is, a decoy for images of junk; --free-decoys refines it."
            if number in fixed
            else "It is refined like the others (--free-decoys)."
        )
        for number, reference in enumerate(references)
        if reference.decoy
    ]


def set_up(
    table: ParticleSet,
    source: ImageSource,
    references: Sequence[Reference],
    options: Classify3dOptions,
    mask: Float[Tensor, "m m m"] | None = None,
) -> RunContext:
    """Check everything that a classification is given, as :func:`classify3d` takes it.

    Raises
    ------
    InputError, OptionError
        For the first thing that cannot be used.
    """
    source = source.of(table)
    mask_diameter, warnings, checked = check_classify3d(
        options, table, source, len(references), masked=mask is not None
    )
    grid = common_grid(table, [reference.grid for reference in references])
    warnings += grid_warnings(table, grid)
    options = within_box(options, grid)
    device = device_for(options.device)
    frame = working_frame(grid, mask_diameter, options.resolution_limit, BEYOND)
    framed, more = in_frame(references, frame)
    warnings += [*more, *compare_references(framed, frame, stop=options.check)]
    if device.type == "cpu" and not COMPILED:
        warnings.append(NOT_COMPILED)
    kept = None if mask is None else _in_working_box(mask, frame).to(device)
    fixed = _fixed_maps(options, framed)
    warnings += _told_of_decoys(framed, fixed)
    making = MapMaking(frame, options.solvent_flatten, options.regularisation, kept, fixed)
    context = RunContext(
        options,
        table,
        as_recorded(source, ctf=options.ctf),
        frame,
        framed,
        making,
        point_group(options.symmetry),
        device,
        mask_diameter,
        warnings,
        checked,
    )
    if not options.placed:
        context.memory.check(table.path)
    return context
