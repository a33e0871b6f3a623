"""Images less the projections of a part of their map: the computation, on tables and arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.particles import SubtractOptions
from vitreous.conventions import MIN_BOX
from vitreous.errors import InputError, OptionError
from vitreous.imaging.map_grid import cubic
from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.jobs.particles.framing import Framing, framed
from vitreous.jobs.particles.projections import Projector, batch_size
from vitreous.jobs.particles.scales import Scales, image_scales
from vitreous.particles.grid import Grid, common_grid, grids
from vitreous.particles.micrographs import coordinate_pixels
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.poses import Poses, has_coordinates, read_poses
from vitreous.particles.stack import ImageSource, windows
from vitreous.runs.folder import OnEvent, ignore

_SAME_PIXEL = 0.01
"""Relative difference between pixel sizes that a header may make by rounding."""


@dataclass(frozen=True)
class Part:
    """A map, what of it is kept, and how messages call the two.

    Attributes
    ----------
    volume : tensor (n, n, n)
    mask : tensor (n, n, n)
        From 0 to 1.
    pixel_size : float
        Angstrom.
    name, mask_name : str
    """

    volume: Float[Tensor, "n n n"]
    mask: Float[Tensor, "n n n"]
    pixel_size: float
    name: str = "the map"
    mask_name: str = "the mask"

    @property
    def box(self) -> int:
        """Pixels."""
        return int(self.volume.shape[-1])

    def centre_of_mass(self) -> Float[np.ndarray, " 3"]:
        """Of the mask: x, y, z in angstrom from the centre."""
        mass = self.mask.double()
        axis = torch.arange(self.box, dtype=mass.dtype, device=mass.device) - self.box // 2
        sums = (mass.sum(dim=[d for d in range(3) if d != along]) @ axis for along in (2, 1, 0))
        return np.array([float(total / mass.sum()) for total in sums]) * self.pixel_size


def check_options(options: SubtractOptions) -> None:
    """Check all options by themselves.

    Raises
    ------
    OptionError
        For the first that cannot be used.
    """
    for bad, what, option in (
        (not options.fit_resolution > 0, "not more than 0 A", "--fit-resolution"),
        (
            options.particle_scale == "fitted" and options.greyscale == "absolute",
            "a scale fitted to each particle leaves no absolute one",
            "--particle-scale, --greyscale",
        ),
        (
            options.box is not None and (options.box % 2 == 1 or options.box < MIN_BOX),
            f"a box of {options.box} px, expected an even one of at least {MIN_BOX}",
            "--box",
        ),
    ):
        if bad:
            raise OptionError(what, where=option, hint="see vitreous subtract --help")


def _check_table(table: ParticleSet, options: SubtractOptions) -> None:
    if table.has(ParticleSet.original_image):
        raise InputError(
            f"the column {table.called(ParticleSet.original_image)} says that something "
            "was subtracted already",
            where=table.path,
            hint="take that back with --revert first",
        )
    if options.ctf:
        require_ctf(table)


def map_grid(
    volume: Float[Tensor, "z y x"], pixel_size: float, table: ParticleSet, name: str
) -> Grid:
    """Grid of a map of these images: that of all of them, or of some optics group.

    Raises
    ------
    InputError
        For a map on the grid of none.
    """
    box, own = int(cubic(volume.cpu().numpy(), name).shape[-1]), grids(table)
    for grid in own:
        if grid.box == box and abs(grid.pixel_size / pixel_size - 1) <= _SAME_PIXEL:
            return grid
    raise InputError(
        f"has {box} px of {pixel_size:g} A, but the images have {' or '.join(map(str, own))}",
        where=name,
        hint="give the map of a refinement of these images, on their grid",
    )


def _check_part(part: Part, options: SubtractOptions, table: ParticleSet) -> None:
    """Require a mask on the map's grid that leaves some of it, and a box within the images'."""
    box, least = part.box, min(group.box for group in table.optics)
    if options.box is not None and options.box > least:
        raise OptionError(
            f"{options.box} px, but the images have {least}", where="--box", hint="give fewer"
        )
    if part.mask.shape != part.volume.shape:
        raise InputError(
            f"is {' x '.join(map(str, part.mask.shape))}, but the map has a box of {box} px",
            where=part.mask_name,
            hint="give a mask on the map's grid",
        )
    if float(part.mask.min()) > 0.99:
        raise InputError(
            "keeps the whole map, so there is nothing to subtract",
            where=part.mask_name,
            hint="give a mask that is 1 on the part to keep and 0 elsewhere",
        )


def class_warnings(table: ParticleSet) -> tuple[str, ...]:
    """What is odd about particles that one map is subtracted from."""
    classes = table.if_sound(ParticleSet.class_number)
    if classes is None or np.ptp(classes) == 0:
        return ()
    words = "The particles are of several classes: one map was subtracted from all of them."
    return (words,)


def place_warnings(table: ParticleSet, framing: Framing | None) -> tuple[str, ...]:
    """What is in doubt about coordinates that move with the images."""
    if framing is None or not has_coordinates(table):
        return ()
    doubt = coordinate_pixels(table).doubt
    return () if doubt is None else (f"Coordinates may be moved by a wrong factor: {doubt}.",)


@dataclass(frozen=True)
class Task:
    """What a subtraction begins with, checked.

    Attributes
    ----------
    options : SubtractOptions
    source : ImageSource
    poses : Poses
    part : Part
    grid : Grid
        Of the map.
    """

    options: SubtractOptions
    source: ImageSource
    poses: Poses
    part: Part
    grid: Grid

    @property
    def table(self) -> ParticleSet:
        """The particles."""
        return self.source.table


def set_up(table: ParticleSet, source: ImageSource, part: Part, options: SubtractOptions) -> Task:
    """Check everything that a subtraction is given.

    Raises
    ------
    InputError, OptionError
        For the first thing that cannot be used.
    """
    check_options(options)
    _check_table(table, options)
    grid = map_grid(part.volume, part.pixel_size, table, part.name)
    _check_part(part, options, table)
    return Task(options, source.of(table), read_poses(table), part, grid)


@dataclass(frozen=True)
class Subtraction:
    """Particles less a part of their map; images are computed when they are read.

    Attributes
    ----------
    table : ParticleSet
        With the images' boxes, origins and coordinates as they are afterwards, but their names of
        before.
    scales : Scales
        That the map was multiplied with.
    framing : Framing or None
        How images are moved and cut.
    warnings : tuple of str
    """

    table: ParticleSet
    scales: Scales
    framing: Framing | None
    warnings: tuple[str, ...]
    _source: ImageSource
    _project: Projector
    _rest: FourierCube

    def read(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m n n"]:
        """Images of these rows, all in boxes of one size, in the order asked.

        Raises
        ------
        InputError
            For an image that cannot be read or holds NaN or one value only, naming its row.
        """
        projections = self._project(self._rest, rows)
        scale = torch.from_numpy(self.scales.of_particle[rows]).to(projections)
        images = torch.from_numpy(self._source.read(rows)).to(projections)
        images = (images - projections * scale[:, None, None]).cpu()
        if self.framing is not None:
            shifts = torch.from_numpy(self.framing.shifts[rows])
            images = windows(images, shifts, self.framing.box or images.shape[-1])
        return images.numpy()

    def batches(self, on_event: OnEvent = ignore) -> Iterator[Float[np.ndarray, "m n n"]]:
        """All images in the table's order: some in boxes of one size, as memory holds well."""
        table = self._source.table
        boxes = np.array([group.box for group in table.optics])[table.group]
        for run in np.split(np.arange(len(table)), np.flatnonzero(np.diff(boxes)) + 1):
            size = batch_size(boxes[run[0]])
            for rows in np.array_split(run, -(-len(run) // size)):
                yield self.read(rows)
                done = {"iteration": int(rows[-1]) + 1, "of": len(table)}
                on_event({"event": "progress", "stage": "subtracting", **done})


def _framing(task: Task) -> Framing | None:
    """Where the images are to be moved to; None if they stay as they are."""
    on_mask, box = task.options.recentre_on_mask, task.options.box
    if not on_mask and box is None:
        return None
    centre = task.part.centre_of_mass() if on_mask else np.zeros(3)
    return framed(task.table, task.poses, centre, box)


def begun(task: Task, on_event: OnEvent) -> Subtraction:
    """Fit the scales of a task that was checked."""
    options, part = task.options, task.part
    project = Projector(task.table, task.poses, task.grid, options.ctf, options.phase_flipped)
    scales = image_scales(options, task.source, project, part.volume, on_event)
    rest = map_to_cube((part.volume * (1 - part.mask))[None], part.box // 2)
    framing = _framing(task)
    table = task.table if framing is None else framing.described(task.table)
    warnings = (
        *task.table.notes,
        *class_warnings(task.table),
        *place_warnings(task.table, framing),
    )
    return Subtraction(table, scales, framing, warnings, task.source, project, rest)


def subtract(
    table: ParticleSet,
    images: ImageSource,
    volume: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    options: SubtractOptions | None = None,
    *,
    on_event: OnEvent = ignore,
) -> Subtraction:
    """Subtract the projections of a part of a map from particles' images.

    Parameters
    ----------
    table : ParticleSet
        With the poses that the map has them in.
    images : ImageSource
        Of the table, or of one that this was made from.
    volume : tensor (n, n, n)
        The map, on the images' grid; where their optics groups differ, on that of most particles.
    mask : tensor (n, n, n)
        From 0 to 1: the map outside it is subtracted.
    options : SubtractOptions, optional
        The defaults, if left out.
    on_event : callable
        Is told of progress.

    Raises
    ------
    InputError, OptionError
        For input or options that cannot be used, and where images do not show the map.
    """
    own = [Grid(len(volume), grid.pixel_size) for grid in grids(table)]
    part = Part(volume, mask, common_grid(table, own).pixel_size)
    return begun(set_up(table, images, part, options or SubtractOptions()), on_event)
