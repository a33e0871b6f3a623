"""Images that were multiplied by their CTF, given back as they were recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.images import defocus_of, optics_of
from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.stack import ImageSource

_PIXELS = 1 << 22
"""Pixels of the images that are divided at once."""

_FLOOR = 0.1
"""CTF below which an image is divided by this instead: its noise is then less than elsewhere."""


def as_if_recorded(
    spectra: Complex[Tensor, "n ..."], ctf: Float[Tensor, "n ..."], defocus: Defocus
) -> Complex[Tensor, "n ..."]:
    """Transforms of images with flips of phases and multiplications by the CTF taken back.

    Noise recorded with an image is white again but close to the CTF's zeros, where nothing is
    known of the signal either.

    Parameters
    ----------
    spectra : complex tensor (images, ...)
    ctf : tensor (images, ...)
        With its sign: what flips and multiplications were done with.
    defocus : Defocus
        Says which images they were done to.
    """
    shape = (-1, *[1] * (ctf.ndim - 1))
    sign = torch.where(ctf < 0, -1.0, 1.0)
    if defocus.flipped is not None:
        spectra = torch.where(defocus.flipped.view(shape), spectra * sign, spectra)
    if defocus.premultiplied is not None:
        divisor = sign * ctf.abs().clamp(min=_FLOOR)
        spectra = torch.where(defocus.premultiplied.view(shape), spectra / divisor, spectra)
    return spectra


def signed_ctf(points: Float[Tensor, "*p 2"], defocus: Defocus, optics: Optics) -> Tensor:
    """CTF at frequencies (x, y) in 1/angstrom, whatever was done to the images."""
    return contrast_transfer(points, replace(defocus, flipped=None), optics)


@dataclass(frozen=True)
class RecordedImages(ImageSource):
    """Image stacks whose premultiplied images are divided by their CTF as they are read."""

    def read(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m b b"]:
        """Images of these rows, float32, in the order asked; errors are those of the base."""
        images = super().read(rows)
        multiplied = self.table.state.premultiplied[rows]
        for number in np.unique(self.table.group[rows[multiplied]]):
            group = self.table.optics[number]
            places = np.flatnonzero(multiplied & (self.table.group[rows] == number))
            for here in np.array_split(places, -(-len(places) * group.box**2 // _PIXELS)):
                images[here] = self._divided(images[here], rows[here], group)
        return images

    def _divided(
        self, images: Float[np.ndarray, "m b b"], rows: Int[np.ndarray, " m"], group: OpticsGroup
    ) -> Float[np.ndarray, "m b b"]:
        axis = torch.fft.fftfreq(group.box, group.pixel_size)
        points = torch.cartesian_prod(axis, axis[: group.box // 2 + 1].abs())
        points = points.view(group.box, -1, 2).flip(-1)  # x, y
        defocus = defocus_of(self.table, rows)
        ctf = signed_ctf(points, defocus, optics_of(group))
        spectra = as_if_recorded(torch.fft.rfft2(torch.from_numpy(images)), ctf, defocus)
        return torch.fft.irfft2(spectra, s=images.shape[-2:]).numpy()


def as_recorded(source: ImageSource, *, ctf: bool) -> ImageSource:
    """Images as they were recorded, for a search that corrects for the CTF."""
    if not ctf or not source.table.state.premultiplied.any():
        return source
    return RecordedImages(source.table, source.stacks)
