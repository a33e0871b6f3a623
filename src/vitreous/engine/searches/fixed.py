"""Images compared with class averages at poses that are given."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.engine.searches.classes import ClassEstimates
from vitreous.engine.searches.grid import RingSums
from vitreous.imaging.polar import PolarGrid


def turned(
    samples: Complex[Tensor, "n rings half"], angle: Float[Tensor, " n"]
) -> Complex[Tensor, "n rings half"]:
    """Ring samples of images turned in their plane, exactly within their bands.

    ``angle`` is psi in radians: the image at its pose is turned to where psi is 0.
    """
    ring = torch.cat([samples, samples.conj()], dim=2)
    spectrum = torch.fft.fft(ring, dim=2)
    frequency = torch.fft.fftfreq(ring.shape[2], 1 / ring.shape[2], device=samples.device)
    spectrum = spectrum * torch.exp(-1j * frequency * angle[:, None, None])
    return torch.fft.ifft(spectrum, dim=2)[:, :, : samples.shape[2]]


def compare_at_poses(
    averages: Complex[Tensor, "k rings half"],
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    noise: Float[Tensor, " rings"],
    log_prior: Float[Tensor, " k"],
    polar: PolarGrid,
) -> tuple[ClassEstimates, RingSums]:
    """Posterior of every image over all classes, and the sums of it.

    Parameters
    ----------
    averages : tensor (classes, rings, half)
    images : tensor (images, rings, half)
        Ring samples of one optics group, turned and moved to psi and origin 0.
    ctf : tensor (images, rings, half)
        Turned alike.
    noise : tensor (rings,)
        Expected power of the noise at a frequency.
    log_prior : tensor (classes,)
    polar : PolarGrid
        The rings.
    """
    half = averages.shape[2]
    weight = (2 * math.pi * polar.radii(noise.device) / noise / half)[:, None]
    filtered, squared = (images * ctf).flatten(1), (ctf**2).flatten(1)
    cross = filtered @ (averages.conj() * weight).flatten(1).T
    norm = squared @ (averages.abs() ** 2 * weight).flatten(1).T
    score = cross.real - 0.5 * norm + log_prior
    evidence, posterior = score.logsumexp(dim=1), score.softmax(dim=1)
    data = (posterior.to(filtered.dtype).T @ filtered).view(averages.shape)
    squares = (posterior.T @ squared).view(averages.shape)
    product = (data.conj() * averages).real.sum(dim=0).mean(dim=1)
    power = (squares * averages.abs() ** 2).sum(dim=0).mean(dim=1)
    residual = (images.abs() ** 2).mean(dim=2).sum(dim=0) - 2 * product + power
    count = torch.tensor(float(len(images)), device=noise.device)
    best, nothing = posterior.max(dim=1), torch.zeros_like(posterior[:, 0], dtype=torch.long)
    found = ClassEstimates(evidence, best.values, posterior, best.indices, nothing, nothing)
    return found, RingSums(data, squares, residual, count, product, power)
