"""Align a map to the truth over rotation, shift and hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.math.fourier import to_fourier
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.cubes import read
from vitreous.ops.threads import one_thread
from vitreous.validate.rigid_body import RigidBodies, refine_rigid_bodies, turned_values
from vitreous.validate.symmetry.rotate import rotate_map

_COARSE_ORDER = 2
"""HEALPix order of the global search: 4,608 rotations, 15 degrees apart."""

_AT_ONCE = 128
"""Rotations whose best shifts are found at once."""

_FINER = 3
"""Shifts tried along the box for each frequency step of the global search."""

_ANYWHERE = 0.5
"""Shift over the box that reaches everywhere."""

_EMPTY = 1e-10
"""Product of two shells' powers, over the greatest, below which a shell holds nothing."""

_CANDIDATES = 12
"""Rotations of each hand that are refined."""

ShiftSearch = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Greatest correlation of some rotations, and the shifts over the box where it is, from what their
transforms have in common with the target's."""


@dataclass(frozen=True)
class Alignment:
    """How a map was laid on the truth.

    Attributes
    ----------
    matrix : float64 array (3, 3)
        Carries points (x, y, z) of the map, mirrored if need be, to the truth's frame.
    shift : float64 array (3,)
        Then added, pixels (x, y, z).
    mirrored : bool
        Whether the map was mirrored (z to minus z) first.
    correlation : float
        Of the two low-passed transforms after alignment.
    volume : tensor (n, n, n)
        The aligned map.
    """

    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]
    mirrored: bool
    correlation: float
    volume: Float[Tensor, "n n n"]


def mirrored(volume: Float[Tensor, "z y x"], axis: int = 0) -> Float[Tensor, "z y x"]:
    """The other hand: z (``axis`` 0), y (1) or x (2) to its negative about the box centre."""
    flipped = volume.flip(axis)
    # In an even box the centre is not the middle: flipping moves it one voxel.
    return flipped.roll(1, axis) if volume.shape[axis] % 2 == 0 else flipped


def _frequencies(box: int, radius: float, device: torch.device) -> Float[Tensor, "p 3"]:
    """Half of the frequencies (x, y, z) within a radius, zero left out."""
    last = math.floor(radius)
    axis = torch.arange(-last, last + 1, dtype=torch.float32, device=device)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    norm = points.norm(dim=1)
    half = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return points[half.reshape(-1) & (norm <= radius)]


def _values(volume: Float[Tensor, "n n n"], points: Float[Tensor, "p 3"]) -> Complex[Tensor, " p"]:
    spectrum = to_fourier(volume, 3)
    index = points.long() + volume.shape[-1] // 2
    return spectrum[index[:, 2], index[:, 1], index[:, 0]]


def _best_anywhere(
    terms: Complex[Tensor, "m p"], points: Float[Tensor, "p 3"], side: int
) -> tuple[Float[Tensor, " m"], Float[Tensor, "m 3"]]:
    """Greatest correlation over all shifts in steps of 1 / side, by Fourier transform."""
    x, y, z = (points.long() % side).unbind(1)
    # A real transform takes x from 0, and both halves of the plane there.
    plane = x == 0
    product = terms.new_zeros(len(terms), side, side, side // 2 + 1)
    product[:, z, y, x] = terms
    product[:, -z[plane], -y[plane], 0] = terms[:, plane].conj()
    correlation = torch.fft.irfftn(product, (side,) * 3, (1, 2, 3), norm="forward")
    best, place = correlation.flatten(1).max(dim=1)
    offsets = np.unravel_index(place.cpu().numpy(), (side,) * 3)
    shifts = (np.stack(offsets[::-1], axis=1) + side // 2) % side - side // 2
    return best, torch.from_numpy(shifts / side).to(points)


def _shift_search(points: Float[Tensor, "p 3"], side: int, reach: float) -> ShiftSearch:
    """How the best shifts up to ``reach`` along each axis are found.

    They are so few near zero that a product is faster than a transform.
    """
    if reach >= _ANYWHERE:
        return partial(_best_anywhere, points=points, side=side)
    most = round(reach * side)
    axis = torch.arange(-most, most + 1, dtype=points.dtype, device=points.device) / side
    shifts = torch.cartesian_prod(axis, axis, axis)
    angle = 2 * math.pi * (points @ shifts.T)
    waves = 2 * torch.stack([angle.cos(), -angle.sin()], dim=1).flatten(0, 1)

    def best_near(terms: Tensor) -> tuple[Tensor, Tensor]:
        best, place = (torch.view_as_real(terms).flatten(1) @ waves).max(dim=1)
        return best, shifts[place]

    return best_near


def _coarse(
    cube: FourierCube,
    target: Complex[Tensor, " p"],
    points: Float[Tensor, "p 3"],
    radius: int,
    reach: float,
) -> RigidBodies:
    """Best rotations of a grid, each with its best shift."""
    grid = orientation_grid(_COARSE_ORDER, point_group("C1"))
    rows = torch.arange(len(grid.directions)).repeat_interleave(grid.n_psi)
    columns = torch.arange(grid.n_psi).repeat(len(grid.directions))
    matrices, side = grid.matrices(rows, columns), _FINER * radius
    best_shifts, scores, shifts = _shift_search(points, side, reach), [], []
    for turns in matrices.split(_AT_ONCE):
        values = turned_values(cube, points, turns)
        terms = target * values.conj()
        best, at = best_shifts(terms)
        scores.append(best / values.abs().square().sum(dim=1).sqrt().clamp(min=1e-30))
        shifts.append(at)
    chosen = torch.cat(scores).topk(_CANDIDATES).indices.cpu()
    return RigidBodies(matrices[chosen].double(), torch.cat(shifts).cpu()[chosen].double())


def _whitening(
    cube: FourierCube, target: Complex[Tensor, " p"], points: Float[Tensor, "p 3"]
) -> Float[Tensor, " p"]:
    """Weights that give every shell the same part in the correlation; none to empty ones."""
    shell = points.norm(dim=1).round().long()
    count = torch.bincount(shell).clamp(min=1)

    def power(values: Tensor) -> Tensor:
        sums = values.real.new_zeros(len(count)).index_add_(0, shell, values.abs().square())
        return sums / count

    both = power(target) * power(read(cube, points)[0])
    per_shell = torch.where(both > _EMPTY * both.max(), both, torch.inf).rsqrt()
    return (per_shell / count)[shell]


@one_thread()
def align(
    moving: Float[Tensor, "n n n"],
    truth: Float[Tensor, "n n n"],
    pixel_size: float,
    *,
    resolution: float = 25.0,
    hands: tuple[bool, ...] = (False, True),
    finest: float | None = None,
    reach: float = _ANYWHERE,
) -> Alignment:
    """Lay ``moving`` on ``truth``: best over all rotations, shifts and both hands.

    Parameters
    ----------
    moving, truth : tensors (n, n, n)
        On the same grid and device.
    pixel_size : float
        Angstrom.
    resolution : float
        Frequencies used for the refinement, angstrom; the global search uses the lowest of them.
    hands : tuple of bool
        Whether to try the map as it is (False), mirrored (True), or both.
    finest : float, optional
        Angstrom: a last refinement then goes so far, every shell having the same part in it, and
        tells the hand.  Without, detail that is weak beside the shape hardly counts.
    reach : float
        Largest shift along each axis that the global search tries, over the box.
    """
    box = truth.shape[-1]
    coarse_radius = max(4, min(round(box * pixel_size / max(resolution, 40)), box // 2 - 2, 6))
    radius = max(coarse_radius, min(round(box * pixel_size / resolution), box // 2 - 2))
    low, high = (_frequencies(box, r, truth.device) for r in (coarse_radius, radius))
    coarse, fine = (_values(truth, points) for points in (low, high))
    results = []
    for hand in hands:
        volume = mirrored(moving) if hand else moving
        cube = map_to_cube(volume[None], radius + 1)
        bodies = _coarse(cube, coarse, low, coarse_radius, reach)
        bodies, found = refine_rigid_bodies(cube, coarse, low, bodies, 2e-3)
        bodies = bodies.only(int(found.argmax()))
        bodies, found = refine_rigid_bodies(cube, fine, high, bodies, 1e-4)
        if finest is not None:
            bodies, found = _refine_evenly(volume, truth, bodies, box * pixel_size / finest)
        results.append((float(found), bodies, hand, volume))
    correlation, bodies, hand, volume = max(results, key=lambda item: item[0])
    matrix, shift = bodies.matrices[0].numpy(), box * bodies.shifts[0].numpy()
    return Alignment(matrix, shift, hand, correlation, rotate_map(volume, matrix, shift))


def _refine_evenly(
    moving: Float[Tensor, "n n n"],
    truth: Float[Tensor, "n n n"],
    bodies: RigidBodies,
    shells: float,
) -> tuple[RigidBodies, Float[Tensor, " c"]]:
    """Bodies and correlation with all shells alike, out to ``shells``."""
    radius = min(round(shells), truth.shape[-1] // 2 - 2)
    points = _frequencies(truth.shape[-1], radius, truth.device)
    cube, target = map_to_cube(moving[None], radius + 1), _values(truth, points)
    weights = _whitening(cube, target, points)
    return refine_rigid_bodies(cube, target, points, bodies, 1e-4, weights)
