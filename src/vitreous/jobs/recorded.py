"""Images that were multiplied by their CTF, given back as they were recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.jobs.images import defocus_of, optics_of
from vitreous.particles.stack import ImageSource
from vitreous.physics.ctf import contrast_transfer

_FLOOR = 0.1
"""CTF below which an image is divided by this instead: its noise is then less than elsewhere."""


def divided(images: Float[Tensor, "n b b"], ctf: Float[Tensor, "n b h"]) -> Float[Tensor, "n b b"]:
    """Images divided by their CTFs, at the frequencies of ``torch.fft.rfft2``.

    Noise recorded with an image is white again but close to the CTF's zeros, where nothing is
    known of the signal either.
    """
    bounded = torch.where(ctf < 0, ctf.clamp(max=-_FLOOR), ctf.clamp(min=_FLOOR))
    return torch.fft.irfft2(torch.fft.rfft2(images) / bounded, s=images.shape[-2:])


@dataclass(frozen=True)
class RecordedImages(ImageSource):
    """Image stacks whose premultiplied images are divided by their CTF as they are read."""

    def read(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m b b"]:
        """Images of these rows, float32, in the order asked; errors are those of the base."""
        images = super().read(rows)
        multiplied = self.table.state.premultiplied[rows]
        for number in np.unique(self.table.group[rows[multiplied]]):
            here = np.flatnonzero(multiplied & (self.table.group[rows] == number))
            group = self.table.optics[number]
            axis = torch.fft.fftfreq(group.box, group.pixel_size)
            points = torch.cartesian_prod(axis, axis[: group.box // 2 + 1].abs())
            points = points.view(group.box, -1, 2).flip(-1)  # x, y
            ctf = contrast_transfer(points, defocus_of(self.table, rows[here]), optics_of(group))
            images[here] = divided(torch.from_numpy(images[here]), ctf).numpy()
        return images


def as_recorded(source: ImageSource) -> ImageSource:
    """Images as they were recorded, for a job that corrects for the CTF itself."""
    if not source.table.state.premultiplied.any():
        return source
    return RecordedImages(source.table, source.stacks)
