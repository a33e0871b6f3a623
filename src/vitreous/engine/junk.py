"""Particles and classes that are none."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitreous.validate.decoys import roundness

Label = Literal[
    "map",
    "noise",
    "empty",
    "sphere",
    "duplicate",
    "not reproduced",
    "decoy",
    "other density",
    "fragment",
]

LEFT_OUT: Final[tuple[Label, ...]] = ("noise", "other density", "fragment")
"""Kinds of images that the maps are not made from, in the order of their classes: with nothing in
them; with density that the map does not explain, such as aggregates, contaminants and edges; with
less of the map than the others show."""

_POWERS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Signal's power in an image of junk, over that in the mean image; 0 is mere noise."""

_MARGIN, _PART = 5.0, 1 / 6
"""Nats by which a map must explain an image better than junk does, very strong evidence by Kass &
Raftery (J. Am. Stat. Assoc. 90, 773 (1995)), since the maps have seen the junk; where particles are
faint, this part of what the mean image has."""

_LEAST_SHARE, _MOST_SHARE = 0.01, 0.3
"""Prior shares of junk that odds are made from."""

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


def junk_log_likelihood(
    power: Float[Tensor, "n rings"],
    noise: Float[Tensor, "n rings"],
    signal: Float[Tensor, "n rings"],
    freedom: Float[Tensor, " rings"],
) -> Float[Tensor, " n"]:
    """Log-likelihood of images as junk over that as noise.

    An image of junk holds signal of some power without a map to explain it: its samples are
    normally distributed with the variance of noise and signal.

    Parameters
    ----------
    power : tensor (images, rings)
        Mean power of each image's samples on a ring.
    noise, signal : tensors (images, rings)
        Expected power of noise, and of signal in the mean image of the optics group.
    freedom : tensor (rings,)
        Real degrees of freedom of a ring.
    """
    found = []
    for times in _POWERS:
        more = 1 + times * signal / noise
        found.append(-0.5 * ((power / noise * (1 / more - 1) + more.log()) @ freedom))
    return torch.stack(found).logsumexp(dim=0) - math.log(len(_POWERS))


def junk_log_odds(share: float, evidence: float) -> float:
    """Prior log-odds of junk, of this share, against maps that explain a mean image so well."""
    share = min(max(share, _LEAST_SHARE), _MOST_SHARE)
    return math.log(share / (1 - share)) + min(_MARGIN, _PART * max(evidence, 0.0))


def empty_classes(class_priors: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
    """Which classes hold hardly any of the particles, by their shares of them."""
    return class_priors * len(class_priors) < _EMPTY


def held_classes(class_priors: Float[Tensor, " k"]) -> list[int]:
    """Classes that are not empty, the most populated first."""
    empty = empty_classes(class_priors)
    return [n for n in class_priors.argsort(descending=True).tolist() if not empty[n]]


def class_labels(
    maps: Float[Tensor, "k n n n"],
    class_priors: Float[Tensor, " k"],
    alike: Collection[int],
    not_reproduced: Collection[int] = (),
) -> list[Label]:
    """What each class is: a map, or one of several kinds of junk.

    Parameters
    ----------
    maps : tensor (classes, n, n, n)
    class_priors : tensor (classes,)
        Share of the particles.
    alike : collection of int
        Classes that are like a larger one.
    not_reproduced : collection of int
        Classes that no other search of the same particles has.
    """

    empty = empty_classes(class_priors)

    def label(number: int) -> Label:
        volume = maps[number]
        if number in alike:
            return "duplicate"
        if empty[number] or not volume.any():
            return "empty"
        if roundness(volume) > _ROUND:
            return "sphere"
        return "not reproduced" if number in not_reproduced else "map"

    return [label(number) for number in range(len(maps))]


def duplicate_of(number: int, label: Label, alike: Mapping[int, int]) -> int | None:
    """Class, from 1, that shows all that a duplicate shows; ``alike`` counts from 0."""
    return alike[number - 1] + 1 if label == "duplicate" else None


def effective_classes(class_priors: Float[np.ndarray, " k"]) -> float:
    """Exponential of the entropy of the classes' shares: as many as all even would count."""
    shares = class_priors[class_priors > 0] / class_priors.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
