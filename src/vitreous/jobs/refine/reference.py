"""The map that a refinement begins with: brought to the particles' grid, cut, and looked at."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.errors import InputError
from vitreous.io.mrc import read_map
from vitreous.jobs.compare import cubic, on_grid
from vitreous.jobs.config.refine import RefineConfig
from vitreous.math.fourier import resample_map, shell_index, shell_mean
from vitreous.physics.filters import low_pass
from vitreous.physics.masks import soft_sphere
from vitreous.validate.reproducibility import agreement_with_mirror
from vitreous.validate.symmetry.turning import symmetrised

_SYMMETRIC, _SURELY_SYMMETRIC = 0.5, 0.8
"""Correlations of a reference with itself turned by the group's operators, rotational averages
taken off, the least of which says: below the first, that it does not lie on the group's axes; below
the second, that it may not."""

_MARGIN = 2
"""Shells beyond its last that a box is given to look at a low-passed map in."""

_OWN_MIRROR = 1.2
"""A map cut at some resolution shows no hand if it is its own mirror image to this many times it."""


def read_reference(
    config: RefineConfig, box: int, pixel_size: float
) -> tuple[Float[Tensor, "n n n"], list[str]]:
    """The reference on the particles' grid with all its detail, and a warning if it had another."""
    array, own = read_map(config.reference)
    volume = cubic(array, config.reference)
    warnings = []
    if abs(own / pixel_size - 1) > 1e-3 or volume.shape[-1] != box:
        warnings.append(
            f"The reference has {volume.shape[-1]} px of {own:.4g} A, the particles {box} px of "
            f"{pixel_size:.4g} A: it was brought to their grid. If it looks too large or too "
            "small, its header's pixel size is wrong."
        )
    return on_grid(volume, own, box, pixel_size), warnings


def _coarse(
    volume: Float[Tensor, "n n n"], pixel_size: float, lowpass: float
) -> Float[Tensor, "m m m"]:
    """The map cut at a resolution, in as small a box as holds it."""
    box = volume.shape[-1]
    field = box * pixel_size
    # The filter's edge is two shells wide: it is to end, not to begin, at the resolution given.
    shell = max(1.0, field / lowpass - 1)
    cut = low_pass(volume, pixel_size, field / shell)
    return resample_map(cut, min(box, 2 * (math.ceil(shell) + _MARGIN)))


def cut_reference(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    lowpass: float,
    operators: Float[Tensor, "s 3 3"],
) -> Float[Tensor, "n n n"]:
    """The reference without the detail beyond a resolution in angstrom, symmetry imposed."""
    coarse = _coarse(volume, pixel_size, lowpass)
    if len(operators) > 1:
        coarse = symmetrised(coarse, operators)
    return resample_map(coarse, volume.shape[-1])


def shows_no_hand(volume: Float[Tensor, "n n n"], pixel_size: float, lowpass: float) -> bool:
    """Whether a reference, cut at a resolution, is its own mirror image: each view then has two
    poses, and halves may fall into a false solution."""
    coarse = _coarse(volume, pixel_size, lowpass)
    box, field = coarse.shape[-1], volume.shape[-1] * pixel_size
    ball = soft_sphere(box, 0.42 * box, 0.05 * box)
    return agreement_with_mirror(coarse, ball, field / box, lowpass) <= _OWN_MIRROR * lowpass


def axes_warnings(
    config: RefineConfig,
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    operators: Float[Tensor, "s 3 3"],
) -> list[str]:
    """Require the group's axes where they should be; a warning where they may not be.

    Raises
    ------
    InputError
        If the reference, cut at ``config.lowpass``, is unlike itself turned.
    """
    if len(operators) == 1:
        return []
    coarse = _coarse(volume, pixel_size, config.lowpass)
    # Each by itself: one axis in its place would hide in a mean that the others are not.
    alike = min(_likeness(coarse, symmetrised(coarse, turn[None])) for turn in operators[1:])
    mend = f"vitreous symmetry {config.reference} --align {config.symmetry}"
    if alike < _SYMMETRIC:
        raise InputError(
            f"does not have the symmetry {config.symmetry} about the axes that RELION uses "
            f"(it correlates with itself turned at {alike:.2f}, expected {_SURELY_SYMMETRIC} or "
            "more)",
            where=config.reference,
            mend=f"lay it on them: {mend}; or refine without symmetry",
        )
    if alike >= _SURELY_SYMMETRIC:
        return []
    return [
        f"The reference correlates with itself turned by {config.symmetry} at {alike:.2f} only: it "
        f"is noisy, or off the axes that RELION uses. Look at {mend}."
    ]


def _likeness(a: Float[Tensor, "n n n"], b: Float[Tensor, "n n n"]) -> float:
    """Correlation of two maps without their rotational averages."""
    box = a.shape[-1]
    shell = shell_index(box, 3)
    inside = shell < box // 2
    parts = []
    for volume in (a, b):
        average = shell_mean(volume, shell, box // 2)
        parts.append(volume[inside] - average[shell[inside]])
    return float(torch.corrcoef(torch.stack(parts))[0, 1])
