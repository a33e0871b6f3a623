"""How well images fit the averages of the 2D classes that they are in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.class_pass import ClassModel, ClassSearch, Given
from vitreous.engine.grid_pass import GATHERED
from vitreous.engine.image_fit import FIRST_SHELL, ImageFit
from vitreous.engine.shards import placed


def class_fit(
    search: ClassSearch,
    model: ClassModel,
    number: Int[Tensor, " n"],
    given: Given,
    coarse: int,
) -> ImageFit:
    """Compare every image with the average of its class at its place.

    Parameters
    ----------
    number : integer tensor (particles,)
        Class of each, from 0.
    given : Given
        Where each lies, in-plane angles among it.
    coarse : int
        Rings that contrast and misfit are taken over.
    """
    every, polar = torch.arange(len(number)), search.inner(coarse)
    images = search.images.with_group_scales(model.scale)

    def parts() -> Iterator[tuple[Tensor, ImageFit]]:
        for batch in images.shards.batches(every, images.group, GATHERED):
            rows, noise = batch.member, model.noise[batch.group, :coarse]
            samples, ctf = given.placed(rows, *images.at(rows, polar), polar, search.frame.box)
            expected = model.averages[number[rows].to(ctf.device), :coarse] * ctf
            yield rows, _fit(samples, expected, noise * images.mask_share)

    return placed(images.shards, every, parts(), ImageFit(*torch.ones(2, len(number))))


def _fit(
    samples: Float[Tensor, "n rings half"],
    expected: Float[Tensor, "n rings half"],
    variance: Float[Tensor, " rings"],
) -> ImageFit:
    """Contrast and misfit of images whose samples stand for the area that a ring has for each."""
    area = torch.arange(len(variance), device=variance.device).to(variance)
    area[:FIRST_SHELL] = 0

    def total(values: Tensor) -> Float[Tensor, " n"]:
        return values.mean(dim=2) @ (area / variance)

    product, power = total((samples * expected.conj()).real), total(expected.abs().square())
    rest = total((samples - expected).abs().square())
    return ImageFit(product / power.clamp(min=1e-20), rest / area.sum())
