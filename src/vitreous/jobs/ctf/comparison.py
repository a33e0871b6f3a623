"""Particles beside the slices of their reference: what every fit of the optics begins with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.images import defocus_of, optics_of
from vitreous.engine.recorded import as_if_recorded, signed_ctf
from vitreous.imaging.ctf import Optics, beam_tilt_phase, ctf_phase, magnified
from vitreous.imaging.project import FourierCube, map_to_cube, shift_phase
from vitreous.ops import cubes
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import Poses
from vitreous.particles.stack import ImageSource

_ROOM = 1.15
"""Frequencies kept over the finest compared, which magnification may move points to."""

_AT_ONCE = 1 << 21
"""Coefficients of images compared at once."""


@dataclass(frozen=True)
class Reference:
    """Transforms of the maps that particles are compared with.

    Attributes
    ----------
    cubes : tuple of FourierCube
        One for each half, or one; behind each map stand its products with x, y and z where
        gradients are wanted.
    box : int
        Of the maps.
    field : float
        Box times pixel size, angstrom.
    """

    cubes: tuple[FourierCube, ...]
    box: int
    field: float


def reference(
    maps: tuple[Float[Tensor, "n n n"], ...], pixel_size: float, finest: float, *, gradients: bool
) -> Reference:
    """Transforms of masked maps out to ``finest`` (angstrom)."""
    box = int(maps[0].shape[-1])
    field = box * pixel_size
    axis = torch.arange(box, dtype=torch.float32, device=maps[0].device) - box // 2
    places = [axis, axis[:, None], axis[:, None, None]] if gradients else []
    stacks = (torch.stack([volume, *(volume * place for place in places)]) for volume in maps)
    radius = _ROOM * field / finest
    return Reference(tuple(map_to_cube(stack, radius) for stack in stacks), box, field)


@dataclass(frozen=True)
class RunContext:
    """The particles as they are known so far, and what they are compared with.

    Attributes
    ----------
    table : ParticleSet
        Its typed columns and optics groups are the present ones; its blocks are as read.
    source : ImageSource
    poses : Poses
    half : int array (particles,)
        Index among the reference's cubes.
    reference : Reference
    finest, coarsest : float
        Limits of the frequencies compared, angstrom.
    seed : int
    warnings : tuple of str
        On the maps and halves.
    """

    table: ParticleSet
    source: ImageSource
    poses: Poses
    half: Int[np.ndarray, " n"]
    reference: Reference
    finest: float
    coarsest: float
    seed: int
    warnings: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where images and reference are compared."""
        return self.reference.cubes[0].data.device


@dataclass(frozen=True)
class Band:
    """Frequencies of an optics group's images that are compared, half of the plane.

    Attributes
    ----------
    box : int
    pixel_size : float
        Angstrom.
    steps : tensor (pixels, 2)
        Frequencies (x, y) in steps of 1 / field.
    """

    box: int
    pixel_size: float
    steps: Float[Tensor, "p 2"]

    def to(self, device: torch.device) -> Band:
        """The same on another device."""
        return replace(self, steps=self.steps.to(device))

    @property
    def field(self) -> float:
        """Box times pixel size, angstrom."""
        return self.box * self.pixel_size

    @property
    def metric(self) -> Float[Tensor, "p 2"]:
        """Frequencies in 1/angstrom."""
        return self.steps / self.field

    @property
    def radius(self) -> Float[Tensor, " p"]:
        """Distance of each from zero frequency in steps."""
        return self.steps.norm(dim=1)


def band_of(group: OpticsGroup, finest: float, coarsest: float) -> Band:
    """Frequencies between two resolutions (angstrom), within the images' own Nyquist."""
    field = group.box * group.pixel_size
    low, high = field / coarsest, min(field / finest, group.box / 2 - 1)
    x = torch.arange(group.box // 2 + 1, dtype=torch.float32)
    y = torch.arange(group.box, dtype=torch.float32) - group.box // 2
    steps = torch.cartesian_prod(x, y)
    radius = steps.norm(dim=1)
    half = (steps[:, 0] > 0) | (steps[:, 1] > 0)
    return Band(
        group.box, group.pixel_size, steps[half & (radius >= low) & (radius <= high)].contiguous()
    )


@dataclass(frozen=True)
class Compared:
    """Some images and their predictions before the CTF.

    Attributes
    ----------
    observed, predicted : complex tensors (images, pixels)
    derivative : complex tensor (images, pixels, 2)
        Of the prediction by the frequency read, per step; empty where not asked for.
    phase : tensor (images, pixels)
        Argument of the CTF's sine.
    """

    observed: Complex[Tensor, "n p"]
    predicted: Complex[Tensor, "n p"]
    derivative: Complex[Tensor, "n p d"]
    phase: Float[Tensor, "n p"]

    @property
    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """What sums over phase errors are made from."""
        return self.observed, self.predicted, self.phase


def _spectra(context: RunContext, band: Band, rows: np.ndarray, optics: Optics) -> Tensor:
    """Transforms of centred images with the odd aberrations known so far undone."""
    images = torch.from_numpy(context.source.read(rows)).to(context.device)
    x, y = band.steps.long().unbind(1)
    spectrum = torch.fft.rfft2(images, norm="ortho")[:, y % band.box, x]
    origins = torch.from_numpy(context.poses.origins[rows] / band.pixel_size).float()
    spectrum *= shift_phase(band.steps, origins - band.box // 2, band.box)
    if optics.turns_phases:
        spectrum *= beam_tilt_phase(band.metric, optics).conj()
    # Phases were flipped by the CTF as it was read, not as it is known by now.
    read = context.source.table
    before = defocus_of(read, rows).to(context.device)
    if before.flipped is None:
        return spectrum
    ctf = signed_ctf(band.metric, before, optics_of(read.optics[read.group[rows[0]]]))
    return as_if_recorded(spectrum, ctf, before)


def _slices(context: RunContext, rows: np.ndarray, points: Tensor) -> tuple[Tensor, Tensor]:
    """Slices of each particle's own map at frequencies (x, y) in the map's steps, and moments."""
    matrices = torch.from_numpy(context.poses.matrices[rows]).to(points.device)
    maps = len(context.reference.cubes[0].data)
    values = torch.empty(maps, len(rows), len(points), dtype=torch.complex64, device=points.device)
    half = torch.from_numpy(context.half[rows])
    for number in half.unique().tolist():
        own = half == number
        values[:, own] = cubes.read_planes(context.reference.cubes[number], points, matrices[own])
    in_plane = matrices[:, :2].to(torch.complex64)
    moments = (
        torch.einsum("nij,jnp->npi", in_plane, values[1:])
        if maps > 1
        else values.new_empty(len(rows), len(points), 0)
    )
    return values[0], moments


def compare(context: RunContext, band: Band, rows: np.ndarray) -> Compared:
    """Images of some particles of one optics group beside their predictions.

    ``band`` is on the device that they are compared on.
    """
    table = context.table
    optics = optics_of(table.optics[table.group[rows[0]]])
    ratio = context.reference.field / band.field
    slices, moments = _slices(context, rows, magnified(band.steps, optics) * ratio)
    defocus = defocus_of(table, rows).to(context.device)
    points = magnified(band.metric, optics)
    amplitude = defocus.amplitude((points**2).sum(-1))
    if amplitude is not None:
        slices, moments = slices * amplitude, moments * amplitude[..., None]
    return Compared(
        _spectra(context, band, rows, optics),
        slices,
        moments * (-2j * math.pi / context.reference.box * ratio),
        ctf_phase(band.metric, defocus, optics),
    )


def batches(rows: np.ndarray, band: Band) -> Iterator[np.ndarray]:
    """Rows, as many at once as memory allows."""
    size = max(1, _AT_ONCE // len(band.steps))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
