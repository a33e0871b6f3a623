"""How well each image fits the map at its pose, and images that are unlike the others by that.

Aggregates, contaminants and edges leave density that the map does not explain; a fragment shows
less of the map than the others do.  Neither looks like noise: the map explains them better than
nothing does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.maps import PADDING
from vitreous.engine.planes import HalfPlane, PlaneImages
from vitreous.engine.shards import gather
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.ops.cubes import read_planes

_BATCH = 256

FIRST_SHELL = 2
"""Ramps of the ice lie farther in."""

_LEAST = 0.05
"""Scale and misfit below which images differ no more."""

_SPREAD = 2.0
"""Least range of the logarithms that images unlike the others are taken to be spread over."""

_ROUNDS = 100
"""EM iterations for the good images' distribution."""

_FEWEST = 100
"""Images that a distribution can be found from."""


@dataclass(frozen=True)
class ImageFit:
    """How images fit the maps.

    Attributes
    ----------
    scale : tensor (images,)
        Contrast that fits the image best, by least squares; 1 is the map's own.
    misfit : tensor (images,)
        Power that the map leaves unexplained at low resolution, over that of the noise.
    """

    scale: Float[Tensor, " n"]
    misfit: Float[Tensor, " n"]

    def at(self, some: Bool[Tensor, " n"]) -> ImageFit:
        """The same of some images."""
        return ImageFit(self.scale[some], self.misfit[some])


def image_fit(
    maps: Float[Tensor, "k n n n"],
    images: PlaneImages,
    posed: PoseMatrices,
    number: Int[Tensor, " images"],
    noise: Float[Tensor, "g shells"],
    coarse: int,
) -> ImageFit:
    """Compare every image with its map's image at its pose.

    Parameters
    ----------
    maps : tensor (maps, n, n, n)
    posed : PoseMatrices
        Of all images.
    number : integer tensor (images,)
        Map that each image is compared with, from 0.
    noise : tensor (groups, shells)
        Expected noise power at a frequency of unmasked images.
    coarse : int
        Shells that the misfit is taken over.
    """
    plane = images.plane.inner(noise.shape[1])
    cube = map_to_cube(maps, noise.shape[1] + 1, PADDING)
    every, found = torch.arange(len(number)), ImageFit(*torch.ones(2, len(number)))
    for batch in images.shards.batches(every, images.group, _BATCH):
        some = batch.member
        samples, ctf = images.at(some, plane)
        moved = samples * shift_phase(plane.points, posed.origins[some], maps.shape[-1])
        slices = read_planes(cube, plane.points, posed.matrices[some])
        expected = slices[number[some], torch.arange(len(some))] * ctf
        variance = plane.per_sample(noise[images.group[some[0]]]) * images.mask_share
        found.scale[some] = _scale(moved, expected, variance).cpu()
        found.misfit[some] = _misfit(moved - expected, variance, plane, coarse).cpu()
    gather(images.shards, every, [found.scale, found.misfit])
    return found


def _scale(
    images: Float[Tensor, "n m"], expected: Float[Tensor, "n m"], variance: Float[Tensor, " m"]
) -> Float[Tensor, " n"]:
    product = ((images * expected.conj()).real / variance).sum(dim=1)
    return product / (expected.abs().square() / variance).sum(dim=1).clamp(min=1e-20)


def _misfit(
    rest: Float[Tensor, "n m"], variance: Float[Tensor, " m"], plane: HalfPlane, coarse: int
) -> Float[Tensor, " n"]:
    used = (plane.shell >= FIRST_SHELL) & (plane.shell < coarse)
    return (rest[:, used].abs().square() / variance[used]).mean(dim=1)


def unlike_others(fit: ImageFit) -> Float[Tensor, "n 2"]:
    """Probabilities that an image shows other density, or a fragment, unlike most that fit alike.

    Log scale and log misfit of the many are taken to be normally distributed, those of the others
    evenly over all that occurs; share, mean and covariance are found by EM.  Of the others, what is
    farther off in misfit shows other density, what is farther off in scale a fragment; an image
    that is only stronger than the many is one of them.
    """
    if len(fit.scale) < _FEWEST:
        return torch.zeros(len(fit.scale), 2)
    found = torch.stack(
        [fit.scale.clamp(min=_LEAST).log(), fit.misfit.clamp(min=_LEAST).log()], dim=1
    ).double()
    mean = found.median(dim=0).values
    width = 1.4826 * (found - mean).abs().median(dim=0).values.clamp(min=1e-3)
    covariance = width.square().diag()
    even = 1 / (found.amax(dim=0) - found.amin(dim=0)).clamp(min=_SPREAD).prod()
    share = torch.tensor(0.1, dtype=torch.float64)
    for _ in range(_ROUNDS):
        unlike = _unlike(found, mean, covariance, share * even / (1 - share))
        share = unlike.mean().clamp(1e-6, 0.5)
        weight = (1 - unlike) / (1 - unlike).sum()
        mean = weight @ found
        covariance = (weight * (found - mean).T) @ (found - mean) + 1e-6 * torch.eye(2).double()
    poor = torch.stack([found[:, 0].clamp(max=mean[0]), found[:, 1].clamp(min=mean[1])], dim=1)
    weaker, worse = ((poor - mean).abs() / covariance.diag().sqrt()).unbind(dim=1)
    kinds = torch.stack([worse >= weaker, worse < weaker], dim=1)
    return (_unlike(poor, mean, covariance, share * even / (1 - share))[:, None] * kinds).float()


def _unlike(
    found: Float[Tensor, "n 2"],
    mean: Float[Tensor, " 2"],
    covariance: Float[Tensor, "2 2"],
    density: Float[Tensor, ""],
) -> Float[Tensor, " n"]:
    """Probability of the others, of a density, beside the many."""
    off = (found - mean).T
    distance = (off * torch.linalg.solve(covariance, off)).sum(dim=0)
    normal = torch.exp(-distance / 2) / (2 * torch.pi * torch.linalg.det(covariance).sqrt())
    return density / (density + normal)
