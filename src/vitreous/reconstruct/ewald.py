"""Reconstruction at known poses with the curvature of the Ewald sphere.

An image holds the object's transform on the sphere, twice: at frequency k

    I = (exp(i g) F(k, z) - exp(-i g) F(k, -z)) / 2i,    z = lambda k^2 / 2,

with g the argument of the CTF's sine; on a flat slice the two terms join to sin(g) F.  A part of
the object at height h above the image's plane then has its defocus less by h.  DeRosier,
Ultramicroscopy 81, 83 (2000); Russo & Henderson, Ultramicroscopy 187, 26 (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.imaging.ctf import electron_wavelength

_HALF_ALIKE = 2.4983
"""Solution x of 3 (sin x - x cos x) / x^3 = 1/2."""


@dataclass(frozen=True)
class Curvature:
    """What the two terms of an image are told apart by.

    Attributes
    ----------
    thickness : float
        Diameter of the object, angstrom: within 1 / thickness of each other the two points of the
        sphere hold the same.
    reverse : bool
        The sphere curves the other way, as it does for a map of the other hand.
    """

    thickness: float
    reverse: bool = False


def likeness(distance: Float[Tensor, "*p"], thickness: float) -> Float[Tensor, "*p"]:
    """Correlation of an object's transform at two points that far apart (1/angstrom).

    The transform of a ball of diameter ``thickness``, as of density drawn at random within it.
    """
    x = (math.pi * thickness * distance).clamp(min=1e-2)
    return 3 * (torch.sin(x) - x * torch.cos(x)) / x**3


def sphere_terms(
    spectrum: Complex[Tensor, "n p"],
    phase: Float[Tensor, "n p"],
    alike: Float[Tensor, " p"],
) -> tuple[Complex[Tensor, "2 n p"], Float[Tensor, "2 n p"]]:
    """Data and weight that images give to F(k, z) and to F(k, -z).

    Where both points hold the same (``alike`` 1) they are those of a flat slice, sin(g) I and
    sin(g)^2; where they are unrelated (0) the other term is left as noise, which averages out
    over defoci and views.

    Parameters
    ----------
    spectrum : complex tensor (images, pixels)
        Centred, without odd aberrations.
    phase : tensor (images, pixels)
        Argument g of the CTF's sine.
    alike : tensor (pixels,)
        Correlation of F(k, z) with F(k, -z).
    """
    turn = torch.polar(torch.full_like(phase, 0.5), phase) / 1j
    near = torch.stack([turn, turn.conj()])  # the second term is the first's conjugate
    far = near.flip(0)
    factor = near + alike * far
    return factor.conj() * spectrum, factor.abs() ** 2


def matters_beyond(thickness: float, kilovolts: float) -> float:
    """Resolution in angstrom where the sphere's two points correlate at a half.

    It grows with the square root of wavelength and thickness, as in DeRosier's equation 6, whose
    limit, sqrt(thickness lambda / 0.7), lies 1.07 times coarser.
    """
    return math.sqrt(math.pi * thickness * electron_wavelength(kilovolts) / _HALF_ALIKE)


def sphere_halves(
    spectrum: Complex[Tensor, "n p"],
    phase: Float[Tensor, "n p"],
    points: Float[Tensor, "p 2"],
    kilovolts: float,
    curvature: Curvature,
) -> list[tuple[Float[Tensor, "p 3"], Complex[Tensor, "n p"], Float[Tensor, "n p"]]]:
    """Both halves of the sphere that images lie on: frequencies (1/angstrom), data and weight.

    Parameters
    ----------
    spectrum : complex tensor (images, pixels)
        Centred, without odd aberrations.
    phase : tensor (images, pixels)
        Argument of the CTF's sine.
    points : tensor (pixels, 2)
        Frequencies in 1/angstrom, magnification undone.
    kilovolts : float
    curvature : Curvature
    """
    height = electron_wavelength(kilovolts) / 2 * (points**2).sum(-1, keepdim=True)
    data, weight = sphere_terms(spectrum, phase, likeness(2 * height[:, 0], curvature.thickness))
    side = -1 if curvature.reverse else 1
    return [
        (torch.cat([points, sign * height], dim=1), data[half], weight[half])
        for half, sign in enumerate((side, -side))
    ]
