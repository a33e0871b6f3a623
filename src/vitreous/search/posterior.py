"""From log-likelihoods to posterior weights, image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LOG2_E = math.log2(math.e)

SIGNIFICANT_SHARE = 0.999
"""Share of the posterior that pruning must keep."""


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
    significant : bool tensor (images, references)
        The fewest references that hold 99.9 % of the posterior.
    psi, reference, shift : integer tensors (images,)
        Indices of its in-plane angle, reference (map-major, then direction) and shift.
    """

    log_evidence: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    map_probability: Float[Tensor, "n k"]
    significant: Bool[Tensor, "n d"]
    psi: Int[Tensor, " n"]
    reference: Int[Tensor, " n"]
    shift: Int[Tensor, " n"]

    def at(self, index: Int[Tensor, " m"]) -> Best:
        """The same of some images, in this order."""
        names = self.__dataclass_fields__
        return Best(**{name: getattr(self, name)[index] for name in names})


def significant(
    mass: Float[Tensor, "d n"], share: float = SIGNIFICANT_SHARE
) -> Bool[Tensor, "d n"]:
    """For each column, the fewest entries that together hold ``share`` of it.

    Scheres, J. Struct. Biol. 180, 519 (2012), section 2.3: adaptive oversampling.
    """
    ordered, order = mass.sort(dim=0, descending=True)
    before = ordered.cumsum(dim=0) - ordered
    needed = before < share * mass.sum(dim=0)
    return torch.zeros_like(needed).scatter_(0, order, needed)


def posterior(
    log_weight: Float[Tensor, "p d n t"], map_of: Int[Tensor, " d"], maps: int
) -> tuple[Float[Tensor, "p d n t"], Best]:
    """Normalise over all places of each image; the argument's memory is reused.

    Parameters
    ----------
    log_weight : tensor (in-plane angles, references, images, shifts)
        Log-likelihood plus log prior.
    map_of : integer tensor (references,)
        The map that each reference belongs to.
    maps : int
        Number of maps.
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
    mass = mass / total
    reference = by_reference.argmax(dim=0)
    columns = weight[:, reference, torch.arange(images, device=weight.device)]
    place = columns.permute(1, 0, 2).reshape(images, -1).argmax(dim=1)
    best = Best(
        log_evidence=highest + total.log(),
        probability=1 / total,
        map_probability=mass.new_zeros(maps, images).index_add_(0, map_of, mass).T,
        significant=significant(mass).T,
        psi=place // shifts,
        reference=reference,
        shift=place % shifts,
    )
    return weight, best


def among(best: Best, chosen: Int[Tensor, " c"], count: int) -> Best:
    """What was found among the ``chosen`` of ``count`` references, in terms of all of them."""
    everywhere = best.significant.new_zeros(len(best.reference), count)
    return replace(
        best,
        reference=chosen[best.reference],
        significant=everywhere.index_copy_(1, chosen, best.significant),
    )


def joined(parts: list[Best]) -> Best:
    """The images of several tiles, one after the other."""
    fields = Best.__dataclass_fields__
    return Best(**{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})
