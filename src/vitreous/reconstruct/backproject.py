"""Reconstruction at known poses: every image inserted as a Cartesian slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.fourier import to_fourier
from vitreous.physics.ctf import Defocus, Optics, beam_tilt_phase, contrast_transfer, magnified
from vitreous.physics.project import image_frequencies, shift_phase, slice_points
from vitreous.reconstruct.insert import empty_accumulator, friedel_symmetrised, insert
from vitreous.reconstruct.solve import solve


@dataclass(frozen=True)
class PosedImages:
    """Some images with their poses.

    Attributes
    ----------
    images : tensor (n, box, box)
    matrices : tensor (n, 3, 3)
        Volume to image frame.
    origins : tensor (n, 2)
        Shifts that centre the particles, pixels.
    defocus : Defocus
    optics : Optics
    """

    images: Float[Tensor, "n b b"]
    matrices: Float[Tensor, "n 3 3"]
    origins: Float[Tensor, "n 2"]
    defocus: Defocus
    optics: Optics


def reconstruct_at_poses(
    batches: Iterable[PosedImages], box: int, pixel_size: float, padding: int = 2
) -> Float[Tensor, "n n n"]:
    """Least-squares map of images at their poses, CTF, coma and magnification undone.

    Parameters
    ----------
    batches : iterable of PosedImages
        Streamed: only one is in memory at a time.
    box : int
        Pixels of the images and of the map.
    pixel_size : float
        Angstrom.
    """
    frequencies = image_frequencies(box)
    radius = box // 2 - 1
    x, y = frequencies.unbind(-1)
    half = (x > 0) | ((x == 0) & (y >= 0))
    k = frequencies[half & (frequencies.norm(dim=-1) <= radius)]
    index = k.long() + box // 2
    metric = k / (box * pixel_size)
    total = empty_accumulator(1, radius + 2, padding)
    for batch in batches:
        spectrum = to_fourier(batch.images, 2)[:, index[:, 1], index[:, 0]]
        ctf = contrast_transfer(metric, batch.defocus, batch.optics)
        centring = torch.stack([shift_phase(k, origin[None], box)[0] for origin in batch.origins])
        corrected = spectrum * centring * beam_tilt_phase(metric, batch.optics).conj()
        points = slice_points(magnified(k, batch.optics), batch.matrices).reshape(-1, 3)
        inside = points.norm(dim=1) <= radius + 1
        data = (corrected * ctf).reshape(1, -1)[:, inside]
        insert(total, points[inside], data, (ctf**2).reshape(1, -1)[:, inside])
    return solve(friedel_symmetrised(total), None, box, radius)[0]
