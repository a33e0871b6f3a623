"""What is measured of class averages, for the judgement on them."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.class_averages import centre_of_density, shifted
from vitreous.engine.images import Frame
from vitreous.schedules.class2d.context import Class2dContext
from vitreous.schedules.class2d.finish import Classified
from vitreous.validate.class_average import AverageMeasures
from vitreous.validate.fsc import crossing

_LOW, _HIGH = (1.0, 4.0), (5.0, 10.0)
"""Details across the mask that low and high resolution are: least and most."""

_RIM = 0.8
"""Radius over that of the mask where its rim begins."""


def resolution_of(
    fsc: Float[Tensor, "k rings"], threshold: float, frame: Frame
) -> list[float | None]:
    """Resolution in angstrom where each curve over rings first falls below a threshold.

    None if the first ring after the innermost is below already; the last ring if none is.
    """
    curves = fsc.double().numpy()
    ring = crossing(curves, threshold)
    below = curves[:, 1] < threshold
    return [
        None if bad else frame.field / (at + 0.5)
        for at, bad in zip(ring.tolist(), below.tolist(), strict=True)
    ]


def _rings(details: tuple[float, float], frame: Frame, count: int) -> slice:
    """Rings that show so many details across the mask."""
    across = frame.box / (2 * frame.mask_radius)
    first, last = (round(number * across) for number in details)
    first = min(first, count - 2)
    return slice(max(first, 1), min(max(last, first + 1), count))


def low_rings(frame: Frame, count: int) -> slice:
    """Of so many rings, those of low resolution."""
    return _rings(_LOW, frame, count)


def _sums(values: Float[Tensor, "n ..."], number: Int[Tensor, " n"], classes: int) -> Tensor:
    """Sums of particles' values over each class."""
    return values.new_zeros(classes, *values.shape[1:]).index_add_(0, number, values)


def _misfit(
    context: Class2dContext, found: Classified, count: Int[Tensor, " k"], low: slice
) -> Float[Tensor, " k"]:
    """Power at low resolution that averages leave unexplained in an image, over its noise."""
    images = context.search.images
    noise = (found.noise * images.mask_share)[images.group]
    power = images.shell_power.cpu()[:, low] / noise[:, low]
    each = count.clamp(min=1)[:, None]
    seen = _sums(power, found.found.number, len(count)) / each
    return (seen - found.explained[:, low] / each).mean(dim=1)


def likeness(
    averages: Complex[Tensor, "k rings half"], radii: Float[Tensor, " rings"]
) -> tuple[Float[Tensor, "k k"], Float[Tensor, "k k"]]:
    """Greatest correlation of each pair of averages over in-plane rotation.

    Returns
    -------
    as they are, and with the second one mirrored: tensors (classes, classes)
    """
    ring = torch.cat([averages, averages.conj()], dim=2)
    ring[:, 0] = 0  # the mean density
    spectrum = torch.fft.fft(ring, dim=2) * radii[:, None].sqrt()
    norm = spectrum.abs().square().sum(dim=(1, 2)).sqrt().clamp(min=1e-20)
    spectrum = spectrum / norm[:, None, None]

    def greatest(other: Tensor) -> Tensor:
        cross = torch.einsum("krm,lrm->klm", spectrum, other.conj())
        turned = torch.fft.ifft(cross, dim=2).real * cross.shape[2]
        return turned.amax(dim=2)

    return greatest(spectrum), greatest(spectrum.conj())


def centred_rings(
    context: Class2dContext, images: Float[Tensor, "k b b"]
) -> Complex[Tensor, "k rings half"]:
    """Averages moved to their centres of mass, on rings."""
    pixels = context.pixels
    held = images.to(context.search.device)
    moved = shifted(pixels.rings(held), -centre_of_density(held), context.search.frame)
    return moved.cpu()


def alike(context: Class2dContext, found: Classified) -> Float[Tensor, "k k"]:
    """Likeness of all pairs of averages, mirrored or not; 0 of an average to itself."""
    rings = found.fsc.shape[1]
    averages = centred_rings(context, found.images)[:, :rings]
    radii = context.search.frame.polar.radii()[:rings]
    both = torch.maximum(*likeness(averages, radii))
    return both.fill_diagonal_(0)


def _shape(
    images: Float[Tensor, "k b b"], frame: Frame
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Offset of the centre of mass, mean density of the rim, and the part that is a slope."""
    axis = (torch.arange(frame.box) - frame.box // 2) / frame.mask_radius
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.hypot(x, y)
    inside, rim = radius < _RIM, (radius >= _RIM) & (radius < 1)
    offset = centre_of_density(images).norm(dim=1) / frame.mask_radius
    within = images[:, inside].abs().mean(dim=1).clamp(min=1e-12)
    outer = images[:, rim].abs().mean(dim=1) / within
    disc = radius < 1
    held = images[:, disc] - images[:, disc].mean(dim=1, keepdim=True)
    total = held.square().sum(dim=1).clamp(min=1e-20)
    planes = ((held @ c[disc]).square() / c[disc].square().sum() for c in (x, y))
    return offset, outer, sum(planes, torch.zeros(len(images))) / total


def measured(
    context: Class2dContext, found: Classified, pairs: Float[Tensor, "k k"]
) -> list[AverageMeasures]:
    """Measures of all classes, numbered from 1 in the order of the search."""
    frame, classes, rings = context.search.frame, len(found.images), found.fsc.shape[1]
    low, high = low_rings(frame, rings), _rings(_HIGH, frame, rings)
    count = torch.bincount(found.found.number, minlength=classes)
    each = count.clamp(min=1)
    evidence = _sums(found.found.log_evidence, found.found.number, classes) / each
    limits = resolution_of(found.fsc, 0.5, frame)
    strength, detail = ((found.snr[:, span].mean(dim=1) / each) for span in (low, high))
    misfit = _misfit(context, found, count, low)
    offset, rim, slope = _shape(found.images, frame)
    return [
        AverageMeasures(
            number + 1,
            int(count[number]),
            float(evidence[number]),
            limits[number],
            *(
                float(values[number])
                for values in (strength, detail, misfit, offset, rim, slope, pairs.amax(dim=1))
            ),
        )
        for number in range(classes)
    ]
