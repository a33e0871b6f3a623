"""Point groups with their axes laid as RELION lays them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.math.group_names import normalise_name

_PHI = (1 + math.sqrt(5)) / 2
_X, _Z = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)

# Generators (fold, axis).  The icosahedral settings are the four of Heymann, Chagoyen &
# Belnap, J. Struct. Biol. 151, 196 (2005): I1 and I2 have two-fold axes along x, y and z, and
# I3 and I4 a five-fold and a three-fold one along z.
_POLYHEDRAL: dict[str, list[tuple[int, tuple[float, float, float]]]] = {
    "T": [(3, _Z), (2, (0.0, math.sqrt(2 / 3), math.sqrt(1 / 3)))],
    "O": [(4, _Z), (3, (1.0, 1.0, 1.0))],
    "I1": [(2, _Z), (5, (_PHI, 0.0, -1.0))],
    "I2": [(2, _Z), (5, (1.0, 0.0, _PHI))],
    "I3": [(5, _Z), (2, (-1.0, 0.0, _PHI))],
    "I4": [(5, (-2.0, 0.0, -1.0)), (2, (1.0, 0.0, _PHI))],
}


def _turn(fold: int, axis: tuple[float, float, float]) -> Float[Tensor, "3 3"]:
    unit = torch.tensor(axis, dtype=torch.float64)
    unit = unit / unit.norm() * (2 * math.pi / fold)
    cross = torch.zeros(3, 3, dtype=torch.float64)
    cross[0, 1], cross[0, 2], cross[1, 2] = -unit[2], unit[1], -unit[0]
    return torch.linalg.matrix_exp(cross - cross.T)


def _generators(group: str) -> list[Float[Tensor, "3 3"]]:
    if group in _POLYHEDRAL:
        return [_turn(*generator) for generator in _POLYHEDRAL[group]]
    fold = int(group[1:])
    return [_turn(fold, _Z)] + ([_turn(2, _X)] if group[0] == "D" else [])


def point_group(name: str) -> Float[Tensor, "s 3 3"]:
    """All rotations of a point group (float64), identity first.

    Parameters
    ----------
    name : str
        Cn, Dn, T, O, I (RELION's I2) or I1 to I4, in either case.

    Raises
    ------
    OptionError
        If the name is not one of these.
    """
    generators = _generators(normalise_name(name))
    operators = [torch.eye(3, dtype=torch.float64)]
    for operator in operators:  # grows while it is walked, until the group is closed
        for generator in generators:
            product = generator @ operator
            if all((product - known).abs().max() > 1e-6 for known in operators):
                operators.append(product)
    return torch.stack(operators)


def rotation_axes(operators: Float[Tensor, "s 3 3"]) -> list[tuple[Float[Tensor, " 3"], int]]:
    """Axes of a point group's rotations, each with its fold, the highest fold first.

    Parameters
    ----------
    operators : tensor (operators, 3, 3)
        The whole group, identity first.
    """
    vectors = torch.from_numpy(Rotation.from_matrix(operators[1:].numpy()).as_rotvec())
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    same = (vectors @ vectors.T).abs() > 1 - 1e-6
    first = same.long().argmax(dim=1)  # of the operators that share an axis
    axes = [(vectors[n], 1 + int(same[n].sum())) for n in range(len(vectors)) if int(first[n]) == n]
    return sorted(axes, key=lambda axis: -axis[1])


def axes_apart(name: str, rotation: Float[Tensor, "3 3"]) -> float:
    """Largest angle in degrees from a point group's axes, rotated, to its axes of the same fold.

    Zero for the rotations that carry the group into itself, whether they belong to it or not.
    """
    axes = rotation_axes(point_group(name))
    chords = []
    for axis, fold in axes:
        same = torch.stack([other for other, n in axes if n == fold])
        moved = rotation.to(axis) @ axis
        chords.append(torch.linalg.cross(same, moved.expand_as(same)).norm(dim=1).min())
    return float(torch.rad2deg(torch.arcsin(torch.stack(chords).max().clamp(max=1))))


def asymmetric_unit(
    directions: Float[Tensor, "d 3"], operators: Float[Tensor, "s 3 3"]
) -> Bool[Tensor, " d"]:
    """Which directions lie in one asymmetric unit of the group.

    The unit is the Voronoi cell of a generic direction among its symmetry mates; directions on
    its border are kept.
    """
    generic = torch.tensor([0.31, 0.17, 0.93], dtype=directions.dtype)
    generic = generic / generic.norm()
    mates = operators.to(directions.dtype) @ generic
    closeness = directions @ mates.T
    return closeness[:, 0] >= closeness.max(dim=1).values - 1e-6


def lattice_cosets(
    operators: Float[Tensor, "s 3 3"],
) -> tuple[Float[Tensor, "l 3 3"], Float[Tensor, "c 3 3"]]:
    """A point group's rotations that carry a cubic lattice into itself, and what makes up the rest.

    Returns
    -------
    lattice, cosets : tensors (l, 3, 3) and (c, 3, 3)
        Every operator is one product lattice @ coset; both begin with the identity.
    """
    operators = operators.double().cpu()
    whole = (operators - operators.round()).abs().amax(dim=(1, 2)) < 1e-6
    lattice = operators[whole].round()
    cosets, left = [], torch.ones(len(operators), dtype=torch.bool)
    while left.any():
        cosets.append(operators[left][0])
        apart = (lattice @ cosets[-1])[:, None] - operators
        left &= apart.abs().amax(dim=(2, 3)).min(dim=0).values > 1e-6
    return lattice, torch.stack(cosets)
