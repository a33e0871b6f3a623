"""Images of the particle that are looked for: turned in the plane, and as the CTF shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import fft, ndimage

from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer


@dataclass(frozen=True)
class References:
    """What is looked for, and where its statistics are taken.

    Attributes
    ----------
    images : array (references, box, box)
        White.
    mask : array (box, box)
        0 or 1.
    """

    images: Float[np.ndarray, "k b b"]
    mask: Float[np.ndarray, "b b"]


def disc(box: int, diameter: float) -> Float[np.ndarray, "b b"]:
    """1 within a diameter in pixels, 0 beyond."""
    axis = np.arange(box) - box // 2
    return (np.hypot(axis[:, None], axis) <= diameter / 2).astype(np.float32)


def turned(images: Float[np.ndarray, "k b b"], diameter: float, step: float) -> References:
    """Images of particles turned in the plane.

    Parameters
    ----------
    images : array (images, box, box)
        White, in pixels of the prepared micrograph.
    diameter : float
        Of the particle, pixels.
    step : float
        Degrees.
    """
    angles = np.arange(0, 360, step)
    rotated = np.concatenate(
        [ndimage.rotate(images, angle, axes=(1, 2), reshape=False, order=1) for angle in angles]
    )
    return References(rotated.astype(np.float32), disc(images.shape[-1], 1.2 * diameter))


def under_ctf(
    references: References, pixel_size: float, defocus: Defocus, optics: Optics
) -> References:
    """References as the micrograph shows them: their transforms times its CTF.

    Parameters
    ----------
    references : References
    pixel_size : float
        Angstrom.
    defocus : Defocus
        Of one image.
    optics : Optics
    """
    box = references.images.shape[-1]
    wide = 2 * box
    y, x = fft.fftfreq(wide, pixel_size), fft.rfftfreq(wide, pixel_size)
    points = torch.from_numpy(np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    ctf = contrast_transfer(points, defocus, optics)[0].numpy()
    margin = (wide - box) // 2
    padded = np.pad(references.images, ((0, 0), (margin, margin), (margin, margin)))
    seen = fft.irfft2(fft.rfft2(padded) * ctf, s=(wide, wide))
    inside = slice(margin, margin + box)
    return References(seen[:, inside, inside].astype(np.float32), references.mask)
