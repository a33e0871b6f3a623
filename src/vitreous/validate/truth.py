"""Align a map to the truth over rotation, shift and hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.math.fourier import to_fourier
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.cubes import read
from vitreous.ops.threads import one_thread
from vitreous.validate.symmetry.rotate import rotate_map

_COARSE_ORDER = 2
"""HEALPix order of the global search: 4,608 rotations, 15 degrees apart."""

_EMPTY = 1e-10
"""Product of two shells' powers, over the greatest, below which a shell holds nothing."""

_CANDIDATES = 6
"""Rotations of each hand that are refined."""


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
    half = (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))
    return points[half.reshape(-1) & (norm <= radius)]


def _values(volume: Float[Tensor, "n n n"], points: Float[Tensor, "p 3"]) -> Complex[Tensor, " p"]:
    spectrum = to_fourier(volume, 3)
    index = points.long() + volume.shape[-1] // 2
    return spectrum[index[:, 2], index[:, 1], index[:, 0]]


def _coarse(
    cube: FourierCube, target: Complex[Tensor, " p"], points: Float[Tensor, "p 3"], radius: int
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Best rotations of a grid, each with its best shift (in box units) by Fourier transform."""
    grid = orientation_grid(_COARSE_ORDER, point_group("C1"))
    rows = torch.arange(len(grid.directions)).repeat_interleave(grid.n_psi)
    columns = torch.arange(grid.n_psi).repeat(len(grid.directions))
    matrices = grid.matrices(rows, columns)
    side = 4 * radius
    index = points.long() % side
    found = []
    for start in range(0, len(matrices), 128):
        turns = matrices[start : start + 128]
        rotate_map = torch.einsum("pi,nij->npj", points, turns.to(points))
        values = read(cube, rotate_map.reshape(-1, 3))[0].view(len(turns), -1)
        product = values.new_zeros(len(turns), side, side, side)
        product[:, index[:, 2], index[:, 1], index[:, 0]] = target * values.conj()
        # Only half of the plane is filled: twice the real part is the correlation.
        correlation = torch.fft.ifftn(product, dim=(1, 2, 3)).real.flatten(1)
        best, place = correlation.max(dim=1)
        score = best / values.abs().square().sum(dim=1).sqrt().clamp(min=1e-30)
        for n in score.topk(min(3, len(turns))).indices.tolist():
            z, y, x = np.unravel_index(int(place[n]), (side, side, side))
            shift = (np.array([x, y, z]) + side // 2) % side - side // 2
            found.append((float(score[n]), turns[n].numpy(), shift / side))
    return sorted(found, key=lambda item: -item[0])[:_CANDIDATES]


def _refine(
    cube: FourierCube,
    target: Complex[Tensor, " p"],
    points: Float[Tensor, "p 3"],
    matrix: np.ndarray,
    shift: np.ndarray,
    tolerance: float,
    weights: Float[Tensor, " p"] | None = None,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Correlation, rotation and shift (in box units) at the nearest maximum.

    ``weights`` are those of the coefficients' products; 1 by default.
    """
    weights = torch.ones_like(points[:, 0]) if weights is None else weights
    norm = float((weights * target.abs().square()).sum().sqrt())

    def rotated(vector: np.ndarray) -> np.ndarray:
        return np.asarray(Rotation.from_rotvec(vector).as_matrix() @ matrix)

    def loss(parameters: np.ndarray) -> float:
        rotation = torch.from_numpy(rotated(parameters[:3])).to(points)
        values = read(cube, points @ rotation)[0]
        offset = torch.from_numpy(shift + parameters[3:]).to(points)
        values = values * torch.exp(-2j * math.pi * (points @ offset))
        power = float((weights * values.abs().square()).sum().sqrt())
        product = float((weights * (values.conj() * target).real).sum())
        return -product / max(norm * power, 1e-30)

    steps = np.diag([0.1] * 3 + [0.01] * 3)
    simplex = np.vstack([np.zeros(6), steps])
    best = minimize(
        loss,
        np.zeros(6),
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": tolerance, "fatol": 1e-7, "maxiter": 400},
    )
    return -float(best.fun), rotated(best.x[:3]), shift + best.x[3:]


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
    """
    box = truth.shape[-1]
    coarse_radius = max(4, min(round(box * pixel_size / max(resolution, 40)), box // 2 - 2, 6))
    radius = max(coarse_radius, min(round(box * pixel_size / resolution), box // 2 - 2))
    low, high = (_frequencies(box, r, truth.device) for r in (coarse_radius, radius))
    results = []
    for hand in hands:
        volume = mirrored(moving) if hand else moving
        cube = map_to_cube(volume[None], radius + 1)
        coarse = _coarse(cube, _values(truth, low), low, coarse_radius)
        target = _values(truth, low)
        rough = [_refine(cube, target, low, m, s, 2e-3) for _, m, s in coarse]
        _, matrix, shift = max(rough, key=lambda item: item[0])
        fine = _refine(cube, _values(truth, high), high, matrix, shift, 1e-4)
        if finest is not None:
            fine = _refine_evenly(volume, truth, fine[1], fine[2], box * pixel_size / finest)
        results.append((*fine, hand, volume))
    correlation, matrix, shift, hand, volume = max(results, key=lambda item: item[0])
    return Alignment(
        matrix, shift * box, hand, correlation, rotate_map(volume, matrix, shift * box)
    )


def _refine_evenly(
    moving: Float[Tensor, "n n n"],
    truth: Float[Tensor, "n n n"],
    matrix: np.ndarray,
    shift: np.ndarray,
    shells: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Correlation, rotation and shift with all shells alike, out to ``shells``."""
    radius = min(round(shells), truth.shape[-1] // 2 - 2)
    points = _frequencies(truth.shape[-1], radius, truth.device)
    cube, target = map_to_cube(moving[None], radius + 1), _values(truth, points)
    weights = _whitening(cube, target, points)
    return _refine(cube, target, points, matrix, shift, 1e-4, weights)
