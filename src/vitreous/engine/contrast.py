"""Whether particles are white, from their transforms on rings."""

from __future__ import annotations

import math

import torch

from vitreous.engine.images import Frame
from vitreous.engine.rings import RingImages
from vitreous.validate.particles.contrast import standard_score

_SHELL = 1.3
"""Frequency times mask diameter up to which a particle of whatever shape scores by its sign."""

_MOST_COMPARED, _BATCH = 10_000, 1_000
"""Images that tell the particles' contrast, of the whole stack, and how many are read at once."""


def contrast_score(images: RingImages, frame: Frame) -> float:
    """Mean density at the particles' place in standard errors: positive for white particles.

    As :func:`vitreous.validate.particles.contrast.spectra_contrast`, on the innermost rings of some
    images: farther out the spectrum of a hollow particle is negative.
    """
    reach = frame.polar.radii() * (2 * frame.mask_radius / frame.box)
    rings = max(2, int((reach <= _SHELL).sum()))
    area = frame.polar.sample_area()[:rings]
    count = len(images.group)
    some = torch.arange(0, count, math.ceil(count / _MOST_COMPARED))
    scores = []
    for part in some.split(_BATCH):
        samples, ctf = (values[:, :rings].cpu() for values in images.at(part, images.polar))
        scores.append(((samples.real * ctf).sum(dim=2) * area).sum(dim=1))
    return standard_score(torch.cat(scores))
