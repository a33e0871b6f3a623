"""Reconstruction at known poses with the curvature of the Ewald sphere.

An image holds the object's transform on the sphere, twice: at frequency k

    I = (exp(i g) F(k, z) - exp(-i g) F(k, -z)) / 2i,    z = lambda k^2 / 2,

with g the argument of the CTF's sine; on a flat slice the two terms join to sin(g) F.  A part of
the object at height h above the image's plane then has its defocus less by h.  DeRosier,
Ultramicroscopy 81, 83 (2000); Russo & Henderson, Ultramicroscopy 187, 26 (2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.errors import OptionError
from vitreous.physics.ctf import beam_tilt_phase, ctf_phase, electron_wavelength, magnified
from vitreous.reconstruct.backproject import PosedImages, centred_spectra, half_plane
from vitreous.reconstruct.insert import Accumulator, empty_accumulator, friedel_symmetrised, insert
from vitreous.reconstruct.solve import solve


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


def ewald_backproject(
    total: Accumulator, batch: PosedImages, box: int, pixel_size: float, curvature: Curvature
) -> None:
    """Add images to both halves of the sphere, in place; call friedel_symmetrised at the end.

    Parameters
    ----------
    total : Accumulator
        For frequencies up to box / 2 + 1.
    batch : PosedImages
    box : int
        Pixels of the images.
    pixel_size : float
        Angstrom.
    curvature : Curvature
    """
    radius, field = box // 2 - 1, box * pixel_size
    k = half_plane(box, radius)
    spectrum = centred_spectra(batch.images, k, batch.origins)
    spectrum = spectrum * beam_tilt_phase(k / field, batch.optics).conj()

    if batch.defocus is None:
        raise OptionError(
            "the sphere's two halves are told apart by the CTF, which these particles lack",
            mend="give particles with defocus columns",
        )
    points = magnified(k / field, batch.optics)
    height = electron_wavelength(batch.optics.voltage) / 2 * (points**2).sum(-1)
    data, weight = sphere_terms(
        spectrum,
        ctf_phase(k / field, batch.defocus, batch.optics),
        likeness(2 * height, curvature.thickness),
    )
    side = -1 if curvature.reverse else 1
    for sign, samples, shares in zip((side, -side), data, weight, strict=True):
        curved = torch.cat([points, sign * height[:, None]], dim=1) * field
        places = torch.einsum("pi,nij->npj", curved, batch.matrices.float()).reshape(-1, 3)
        inside = places.norm(dim=1) <= radius + 1
        insert(
            total,
            places[inside],
            samples.reshape(1, -1)[:, inside],
            shares.reshape(1, -1)[:, inside],
        )


def ewald_reconstruct(
    batches: Iterable[PosedImages],
    box: int,
    pixel_size: float,
    curvature: Curvature,
    padding: int = 2,
) -> Float[Tensor, "n n n"]:
    """Map of images at their poses, each read as two halves of the Ewald sphere.

    Parameters
    ----------
    batches : iterable of PosedImages
        Streamed: only one is in memory at a time.
    box : int
        Pixels of the images and of the map.
    pixel_size : float
        Angstrom.
    curvature : Curvature
    """
    radius = box // 2 - 1
    total = empty_accumulator(1, radius + 2, padding)
    for batch in batches:
        ewald_backproject(total, batch, box, pixel_size, curvature)
    return solve(friedel_symmetrised(total), None, box, radius)[0]
