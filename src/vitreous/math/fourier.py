"""Unitary Fourier transforms of centred arrays, resampling by cropping, and shells.

All transforms carry 1/sqrt(number of pixels), so white noise of variance s has expected
power s at every frequency whatever the box; cropping in Fourier space keeps that property.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor


def _last(ndim: int) -> tuple[int, ...]:
    return tuple(range(-ndim, 0))


def to_fourier(array: Float[Tensor, "*dims"], ndim: int) -> Complex[Tensor, "*dims"]:
    """Unitary transform of the last ``ndim`` dimensions; zero frequency at the box centre."""
    dims = _last(ndim)
    spectrum = torch.fft.fftn(torch.fft.ifftshift(array, dims), dim=dims, norm="ortho")
    return torch.fft.fftshift(spectrum, dims)


def to_real(spectrum: Complex[Tensor, "*dims"], ndim: int) -> Float[Tensor, "*dims"]:
    """Inverse of :func:`to_fourier` for the spectrum of a real array."""
    dims = _last(ndim)
    array = torch.fft.ifftn(torch.fft.ifftshift(spectrum, dims), dim=dims, norm="ortho")
    return torch.fft.fftshift(array.real, dims)


def to_half_fourier(volume: Float[Tensor, "*k n n n"]) -> Complex[Tensor, "*k n n h"]:
    """Unitary transform of a real volume, zero frequency first: the half that tells it all.

    It counts from the corner, not the centre.  That is all the same to radial filters, and to
    products of two spectra, for half the memory and a third of the time.
    """
    return torch.fft.rfftn(volume, dim=_last(3), norm="ortho")


def from_half_fourier(spectrum: Complex[Tensor, "*k n n h"]) -> Float[Tensor, "*k n n n"]:
    """Inverse of :func:`to_half_fourier`."""
    box = spectrum.shape[-2]
    return torch.fft.irfftn(spectrum, s=(box, box, box), dim=_last(3), norm="ortho")


def half_spectra(images: Float[Tensor, "*n b b"]) -> Complex[Tensor, "*n b h"]:
    """Unitary transforms of centred images, the half with x from 0 on, at ``[y, x]``.

    Negative y count from the end, as NumPy's indices do.
    """
    return torch.fft.rfft2(torch.fft.ifftshift(images, (-2, -1)), norm="ortho")


def half_planes(images: Float[np.ndarray, "*n h w"]) -> Complex[np.ndarray, "*n h w2"]:
    """Unitary half transforms of images in NumPy's arrays, zero frequency first.

    By torch: SciPy takes twice as long for the single precision of micrographs.
    """
    return np.asarray(torch.fft.rfft2(torch.from_numpy(images), norm="ortho"))


def from_half_planes(
    spectra: Complex[np.ndarray, "*n h w2"], shape: tuple[int, int]
) -> Float[np.ndarray, "*n h w"]:
    """Inverse of :func:`half_planes` for images of a shape."""
    return np.asarray(torch.fft.irfft2(torch.from_numpy(spectra), s=shape, norm="ortho"))


def half_frequency_radius(box: int, device: torch.device | None = None) -> Float[Tensor, "n n h"]:
    """Distance from zero frequency of the coefficients of :func:`to_half_fourier`, in shells."""
    full = (torch.fft.fftfreq(box, 1 / box, device=device)) ** 2
    half = (torch.fft.rfftfreq(box, 1 / box, device=device)) ** 2
    return (full[:, None, None] + full[:, None] + half).sqrt()


def half_shell_means(*values: Float[Tensor, "n n h"]) -> tuple[Float[Tensor, " s"], ...]:
    """Means over the shells up to Nyquist of values at :func:`to_half_fourier`'s coefficients.

    Every coefficient whose mate was left out counts twice.
    """
    box, device = values[0].shape[0], values[0].device
    counts = torch.full((box // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    counts[0] = 1
    if box % 2 == 0:
        counts[-1] = 1
    last = box // 2 + 1
    shells = half_frequency_radius(box, device).round().long().clamp(max=last).flatten()
    # Not bincount, whose sums come out differently every time on a GPU.
    empty = torch.zeros(last + 1, dtype=torch.float64, device=device)
    total, *sums = (
        empty.index_add(0, shells, part.flatten())
        for part in (counts.expand_as(values[0]), *(v * counts for v in values))
    )
    return tuple((part / total)[:last] for part in sums)


@lru_cache(maxsize=16)
def waves(side: int, box: int, period: float, device: torch.device) -> Complex[Tensor, "s n"]:
    """exp(-2 pi i k x / period) at ``side`` frequencies and ``box`` pixels, both centred."""
    k = torch.arange(side, dtype=torch.float64, device=device) - side // 2
    x = torch.arange(box, dtype=torch.float64, device=device) - box // 2
    phase = k[:, None] * x * (-2 * math.pi / period)
    return torch.complex(torch.cos(phase), torch.sin(phase)).to(torch.complex64)


def plane_frequencies(
    images: Float[Tensor, "n b b"], side: int, steps: float
) -> Complex[Tensor, "n s h"]:
    """Unitary transforms of centred images at multiples of ``steps`` frequency steps, exactly.

    Those with x from 0 on of the central ``side`` (odd) along each axis, ``(y, x)`` at
    ``[side // 2 + y, x]``.  ``steps`` need not be whole: products with small matrices, one for each
    axis, take an image to the frequencies of any other field of view.
    """
    box, middle = images.shape[-1], side // 2
    wave = waves(side, box, box / steps, images.device)
    positive = wave[middle:].T
    lines = torch.complex(images @ positive.real, images @ positive.imag)
    return wave @ lines / box


def low_planes(
    volume: Float[Tensor, "*k n n n"], side: int, period: int
) -> Complex[Tensor, "*k n s h"]:
    """The transform along y and x of :func:`low_frequencies`, section by section of the volume."""
    wave = waves(side, volume.shape[-1], period, volume.device)
    positive = wave[side // 2 :].T
    return wave @ torch.complex(volume @ positive.real, volume @ positive.imag)


def low_frequencies(
    volume: Float[Tensor, "k n n n"], side: int, period: int
) -> Complex[Tensor, "k s s h"]:
    """Central ``side`` frequencies (odd) of volumes zero-padded to ``period``, not normalised.

    Those with x from 0 on: the half that tells it all.  Zero frequency lies in the middle of z and
    y, and first along x.  Products with small matrices, one for each axis: no padded volume, no
    frequency that is not wanted, which makes up for the FFT's economy.
    """
    planes = low_planes(volume, side, period)
    wave = waves(side, volume.shape[-1], period, volume.device)
    return (wave @ planes.flatten(2)).view(-1, side, side, side // 2 + 1)


def from_low_frequencies(
    sections: Iterable[tuple[slice, Complex[Tensor, "z s h"]]], side: int, box: int, period: int
) -> Float[Tensor, "n n n"]:
    """Sum of a real volume's waves at ``box`` pixels: the transpose of :func:`low_frequencies`.

    Parameters
    ----------
    sections : iterable
        Some sections of the spectrum at a time, and their place among all ``side``.
    """
    planes: Tensor | None = None
    for place, part in sections:
        back = waves(side, box, period, part.device)[place].mH
        if planes is None:
            planes = back @ part.flatten(1)
        else:
            planes.addmm_(back, part.flatten(1))
    assert planes is not None
    wave = waves(side, box, period, planes.device)
    lines = wave.mH @ planes.view(box, side, -1)
    positive = wave[side // 2 :] * 2
    positive[0] /= 2  # every frequency but zero stands for its mate too
    return lines.real @ positive.real + lines.imag @ positive.imag


def per_coefficient(
    curve: Float[np.ndarray, " s"], box: int, device: torch.device | None = None
) -> Float[Tensor, "n n h"]:
    """Values of shells at the coefficients of a half spectrum, zero beyond the last shell."""
    shells = half_frequency_radius(box, device).round().long()
    values = torch.from_numpy(np.append(curve, 0.0)).float().to(shells.device)
    return values[shells.clamp(max=len(curve))]


def crop_or_pad(
    array: Tensor, boxes: int | tuple[int, ...], ndim: int, fill: float = 0.0
) -> Tensor:
    """Cut or pad the last ``ndim`` dimensions to one box or one each, centre staying on centre."""
    sides = (boxes,) * ndim if isinstance(boxes, int) else boxes
    for dim, box in zip(_last(ndim), sides, strict=True):
        n = array.shape[dim]
        low = box // 2 - n // 2
        padding = [0, 0] * ndim
        place = 2 * (-dim - 1)
        padding[place], padding[place + 1] = low, box - n - low
        array = torch.nn.functional.pad(array, padding, value=fill)
    return array


def resample(array: Float[Tensor, "*dims"], box: int, ndim: int) -> Float[Tensor, "*dims2"]:
    """Resample to ``box`` pixels over the same field of view by cropping in Fourier space.

    The unitary spectrum is kept, so values scale with (old box / box) ** (ndim / 2).
    """
    if array.shape[-1] == box:
        return array
    for dim in reversed(_last(ndim)):
        array = _resampled_along(array, box, dim)
    return array


def _resampled_along(array: Tensor, box: int, dim: int) -> Tensor:
    """Resample real values along one dimension.

    One dimension at a time takes a third of the time of a complex transform of all, and a quarter
    of the memory.  Lines lie one after the other, so that an image comes out as the same bits
    whichever images it comes with.
    """
    old, lines = array.shape[dim], array.movedim(dim, -1).contiguous()
    spectrum = torch.fft.rfft(torch.fft.ifftshift(lines, -1), norm="ortho")
    if box > old and old % 2 == 0:
        spectrum[..., -1] /= 2  # stands for both mates, which are two coefficients now
    values = torch.fft.irfft(spectrum, n=box, norm="ortho")
    return torch.fft.fftshift(values, -1).movedim(-1, dim)


def resample_values(array: Float[Tensor, "*dims"], box: int, ndim: int) -> Float[Tensor, "*dims2"]:
    """The same, with values that stay as they are: those of masks, and of maps to be looked at."""
    return resample(array, box, ndim) * (box / array.shape[-1]) ** (ndim / 2)


def resample_map(volume: Float[Tensor, "*k n n n"], box: int) -> Float[Tensor, "*k m m m"]:
    """Resample a map over the same field of view so that its projections stay the same images.

    A projection sums over z in pixels.  With unitary transforms its spectrum is the central
    slice of the map's times sqrt(box), hence the factor.
    """
    old = volume.shape[-1]
    return resample(volume, box, 3) * math.sqrt(old / box)


def frequency_radius(
    box: int, ndim: int, device: torch.device | None = None
) -> Float[Tensor, "*n"]:
    """Distance of every element of a centred array from its centre, in pixels."""
    axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
    grids = torch.meshgrid(*[axis] * ndim, indexing="ij")
    return torch.sqrt(sum((g**2 for g in grids), torch.zeros_like(grids[0])))


def shell_index(box: int, ndim: int, device: torch.device | None = None) -> Int[Tensor, "*n"]:
    """Shell (radius rounded to the nearest integer) of every element of a centred array."""
    return frequency_radius(box, ndim, device).round().long()


def shell_mean(
    values: Float[Tensor, "*n"], shells: Int[Tensor, "*n"], count: int
) -> Float[Tensor, " s"]:
    """Mean of ``values`` in each of the first ``count`` shells."""
    index = shells.clamp(max=count).flatten()  # the last one is dropped
    total = torch.zeros(count + 1, dtype=torch.float64, device=values.device)
    members = torch.zeros_like(total)
    total.index_add_(0, index, values.double().flatten())
    members.index_add_(0, index, total.new_ones(1).expand(len(index)))
    return (total / members.clamp(min=1))[:count]


def good_box(minimum: int) -> int:
    """Smallest even box of at least ``minimum`` whose factors are 2, 3 and 5."""
    box = minimum + minimum % 2
    while True:
        rest = box
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return box
        box += 2
