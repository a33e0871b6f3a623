"""From log-likelihoods to posterior weights, image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_LOG2_E = math.log2(math.e)


@dataclass(frozen=True)
class Best:
    """Each image's best place on the search grid and how sure it is.

    Attributes
    ----------
    log_evidence : tensor (images,)
        Log of the likelihood summed over all places, under the uniform prior.
    probability : tensor (images,)
        Posterior of the best place.
    map_probability : tensor (images, maps)
        Posterior of each map, summed over places.
    psi, reference, shift : integer tensors (images,)
        Indices of its in-plane angle, reference (map-major, then direction) and shift.
    """

    log_evidence: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    map_probability: Float[Tensor, "n k"]
    psi: Int[Tensor, " n"]
    reference: Int[Tensor, " n"]
    shift: Int[Tensor, " n"]


def posterior(
    log_weight: Float[Tensor, "p d n t"], maps: int
) -> tuple[Float[Tensor, "p d n t"], Best]:
    """Normalise over all places of each image; the argument's memory is reused.

    Parameters
    ----------
    log_weight : tensor (in-plane angles, references, images, shifts)
        Log-likelihood plus log prior.
    maps : int
        Number of maps that the references, map-major, belong to.
    """
    images, shifts = log_weight.shape[2:]
    # One dimension at a time: torch reduces (0, 3) together eighteen times slower.
    by_reference = log_weight.amax(dim=0).amax(dim=-1)
    highest = by_reference.amax(dim=0)
    # exp2, as exp takes a path twenty times slower where the result underflows.
    weight = log_weight.sub_(highest[:, None]).mul_(_LOG2_E).exp2_()
    mass = weight.sum(dim=0).sum(dim=-1)
    total = mass.sum(dim=0)
    weight.div_(total[:, None])
    reference = by_reference.argmax(dim=0)
    columns = weight[:, reference, torch.arange(images, device=weight.device)]
    place = columns.permute(1, 0, 2).reshape(images, -1).argmax(dim=1)
    best = Best(
        log_evidence=highest + total.log(),
        probability=1 / total,
        map_probability=(mass / total).view(maps, -1, images).sum(dim=1).T,
        psi=place // shifts,
        reference=reference,
        shift=place % shifts,
    )
    return weight, best


def joined(parts: list[Best]) -> Best:
    """The images of several tiles, one after the other."""
    fields = Best.__dataclass_fields__
    return Best(**{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})
