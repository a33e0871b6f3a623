"""What a search found of each image, and which references that leaves to be searched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.searches.per_image import PerImage
from vitreous.ops.running import running_total
from vitreous.ops.weights import Weighed

SIGNIFICANT_SHARE = 0.9999
"""Share of a coarse posterior that is looked at again: ten times stricter than the 99.9 % that
must remain of the fine one, whose peaks lie between the coarse grid's points."""


@dataclass(frozen=True)
class PoseEstimates(PerImage):
    """Each image's best place on the search grid and how sure it is.

    Attributes
    ----------
    log_evidence : tensor (images,)
        Log of the likelihood summed over all places, under the uniform prior.
    probability : tensor (images,)
        Posterior of the best place.
    map_probability : tensor (images, maps)
        Posterior of each map, summed over places, in an image that shows one.
    particle_probability : tensor (images,)
        Posterior that the image shows one of the maps at all, rather than junk.
    psi, reference, shift : integer tensors (images,)
        Indices of its in-plane angle, reference (map-major, then direction) and shift.
    significant : bool tensor (images, references)
        The fewest references that hold nearly all of the posterior.
    """

    log_evidence: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    map_probability: Float[Tensor, "n k"]
    particle_probability: Float[Tensor, " n"]
    psi: Int[Tensor, " n"]
    reference: Int[Tensor, " n"]
    shift: Int[Tensor, " n"]
    significant: Bool[Tensor, "n d"]


def significant(
    orientation_posterior: Float[Tensor, "n d"], share: float = SIGNIFICANT_SHARE
) -> Bool[Tensor, "n d"]:
    """For each row, the fewest entries that together hold ``share`` of it.

    Scheres, J. Struct. Biol. 180, 519 (2012), section 2.3: adaptive oversampling.
    """
    ordered, order = orientation_posterior.sort(dim=1, descending=True)
    before = running_total(ordered) - ordered
    needed = before < share * orientation_posterior.sum(dim=1, keepdim=True)
    return torch.zeros_like(needed).scatter_(1, order, needed)


def best_of_maps(
    weighed: list[Weighed],
    chosen: list[Int[Tensor, " _"]],
    references: int,
    junk: Float[Tensor, " n"] | None = None,
) -> PoseEstimates:
    """What was found with every map, among those of all ``references`` that were ``chosen``.

    An image belongs to the map of greatest posterior, and its place is the best there.  ``junk`` is
    each image's log-likelihood as junk, its prior odds included; without it no image is.
    """
    evidence = torch.stack([part.log_evidence for part in weighed], dim=1)
    by_map, top = evidence.softmax(dim=1), evidence.argmax(dim=1)
    here = torch.arange(len(top), device=top.device)

    def of_top(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, dim=1)[here, top]

    orientation_posterior = evidence.new_zeros(len(top), references)
    for number, (part, some) in enumerate(zip(weighed, chosen, strict=True)):
        orientation_posterior[:, some] = (
            part.orientation_posterior[:, : len(some)] * by_map[:, number, None]
        )
    log_evidence = evidence.logsumexp(dim=1)
    particle = torch.ones_like(log_evidence) if junk is None else (log_evidence - junk).sigmoid()
    return PoseEstimates(
        log_evidence,
        of_top([part.highest for part in weighed]) * by_map[here, top],
        by_map,
        particle,
        of_top([part.psi for part in weighed]),
        of_top([some[part.reference] for part, some in zip(weighed, chosen, strict=True)]),
        of_top([part.shift for part in weighed]),
        significant(orientation_posterior),
    )


def no_estimates(count: int, maps: int, references: int, device: torch.device) -> PoseEstimates:
    """Room for what is found of some images."""
    numbers = torch.zeros(3, count, device=device)
    psi, reference, shift = torch.zeros(3, count, dtype=torch.long, device=device)
    return PoseEstimates(
        numbers[0],
        numbers[1],
        torch.zeros(count, maps, device=device),
        numbers[2],
        psi,
        reference,
        shift,
        torch.zeros(count, references, dtype=torch.bool, device=device),
    )
