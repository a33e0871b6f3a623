"""Particles and classes that are none."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.validate.decoys import roundness

Label = Literal[
    "map", "noise", "empty", "sphere", "duplicate", "decoy", "other density", "fragment"
]

LEFT_OUT: Final[tuple[Label, ...]] = ("noise", "other density", "fragment")
"""Kinds of images that the maps are not made from, in the order of their classes: with nothing in
them; with density that the map does not explain, such as aggregates, contaminants and edges; with
less of the map than the others show."""

_ROUNDS = 50
"""EM iterations for the share of noise."""

_EMPTY = 0.05
"""Part of an even share of the particles below which a class is empty."""

_ROUND = 0.98
"""Roundness from which a class's map is a sphere."""


def noise_probability(log_evidence: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Probability that an image holds nothing.

    The log-evidence is that of the maps against an empty one, so the images are a mixture of two
    whose share alone is unknown; it is found by EM.
    """
    evidence = log_evidence.double()
    share = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(_ROUNDS):
        odds = share.log() - (1 - share).log() - evidence
        share = odds.sigmoid().mean().clamp(1e-6, 1 - 1e-6)
    return odds.sigmoid()


def class_labels(
    maps: Float[Tensor, "k n n n"],
    fractions: Float[Tensor, " k"],
    alike: set[int],
) -> list[Label]:
    """What each class is: a map, or one of several kinds of junk.

    Parameters
    ----------
    maps : tensor (classes, n, n, n)
    fractions : tensor (classes,)
        Share of the particles.
    alike : set of int
        Classes that are like a larger one.
    """

    def label(number: int) -> Label:
        volume = maps[number]
        if fractions[number] * len(maps) < _EMPTY or not volume.any():
            return "empty"
        if number in alike:
            return "duplicate"
        return "sphere" if roundness(volume) > _ROUND else "map"

    return [label(number) for number in range(len(maps))]


def effective_classes(fractions: Float[np.ndarray, " k"]) -> float:
    """Exponential of the entropy of the classes' shares: as many as all even would count."""
    shares = fractions[fractions > 0] / fractions.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
