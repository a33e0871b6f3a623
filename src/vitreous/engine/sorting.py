"""Particles sorted among maps by passes over all of them; maps that are alike, or made unlike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.folds import AnyBest, Folds, FoldStep, folds_pass
from vitreous.engine.images import Frame
from vitreous.engine.junk import held_classes
from vitreous.engine.maps import prior_power
from vitreous.engine.state import SearchState
from vitreous.imaging.masks import soft_sphere
from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.validate.reproducibility import agreement

SETTLED = 0.01
"""Share of the particles that change class in a pass, below which the classes have settled."""

_BEGINS = 5 / 3
"""Resolution of the first pass over the final one."""

MARCH = 4
"""Passes over which the resolution rises."""

SAME = 0.8
"""FSC above which, down to the final resolution, two classes show the same."""

_SPLIT = 0.1
"""Norm of the random density that splits a map, over the map's own."""


@dataclass(frozen=True)
class Sorting:
    """Where the sorting of all particles stands.

    Attributes
    ----------
    state : SearchState
    folds : Folds
    by_map : tensor (particles, maps)
        Posterior of each class, by maps made without the particle.
    log_evidence : tensor (particles,)
        Likewise.
    changed : list of float
        Share of the particles that changed class in each pass.
    """

    state: SearchState
    folds: Folds
    by_map: Float[Tensor, "n k"]
    log_evidence: Float[Tensor, " n"]
    changed: list[float]

    @property
    def evidence(self) -> float:
        """Mean log-evidence of the particles in folds."""
        return float(self.log_evidence[torch.cat(self.folds.index)].mean())

    @property
    def settled(self) -> bool:
        """Whether hardly any particle changes class any more, at the final resolution."""
        return len(self.changed) > MARCH and self.changed[-1] < SETTLED


def unsorted(state: SearchState, folds: Folds, particles: int) -> Sorting:
    """Sorting before its first pass."""
    by_map = torch.zeros(particles, len(state.maps))
    return Sorting(state, folds, by_map, torch.zeros(particles), [])


def pass_resolution(final: float, number: int) -> float:
    """Of a pass in angstrom: frequency rises evenly."""
    done = min(number / MARCH, 1.0)
    return final / ((1 - done) / _BEGINS + done)


def sorting_pass(
    sorting: Sorting, step: FoldStep[SearchState, AnyBest], rings: int
) -> tuple[Sorting, list[AnyBest]]:
    """Search all folds once more; also returns what was found of each fold's particles."""
    state, folds, found = folds_pass(sorting.state, sorting.folds, step, rings)
    index = torch.cat(folds.index)
    by_map, log_evidence = sorting.by_map.clone(), sorting.log_evidence.clone()
    by_map[index] = torch.cat([best.map_probability for best in found]).cpu()
    log_evidence[index] = torch.cat([best.log_evidence for best in found]).cpu()
    changed = (by_map.argmax(dim=1) != sorting.by_map.argmax(dim=1)).float().mean()
    after = Sorting(state, folds, by_map, log_evidence, [*sorting.changed, float(changed)])
    return after, found


def class_prior(
    tau2_fudge: float, state: SearchState, sums: Accumulator, rings: int
) -> Float[Tensor, "k s"]:
    """Prior power for class maps: ``tau2_fudge`` times the power of the present ones."""
    return prior_power(state.maps, sums, rings, min(state.rings, rings), tau2_fudge)


def alike(
    frame: Frame, state: SearchState, numbers: list[int], limit: float, threshold: float
) -> dict[int, int]:
    """Of these classes, those whose maps agree with an earlier one of the list, and which."""
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    maps = state.maps.cpu()
    kept: list[int] = []
    found: dict[int, int] = {}
    for number in numbers:
        agreements = (
            agreement(maps[number], maps[other], mask, frame.pixel_size, threshold=threshold)
            for other in kept
        )
        like = [o for o, a in zip(kept, agreements, strict=True) if a.resolution <= limit]
        if like:
            found[number] = like[0]
        else:
            kept.append(number)
    return found


def duplicates(frame: Frame, state: SearchState, resolution: float) -> dict[int, int]:
    """Classes whose maps tell nothing down to a resolution that a more populated one does not.

    Empty classes are not compared.

    Returns
    -------
    Number of each such class, from 0, and of the more populated one.
    """
    return alike(frame, state, held_classes(state.class_priors), resolution, SAME)


def perturbed(
    volume: Float[Tensor, "n n n"], rings: int, seed: int, strength: float = _SPLIT
) -> Float[Tensor, "n n n"]:
    """A map with a little random density where it has some, of a strength beside the map's own."""
    noise = np.random.default_rng(seed).normal(size=volume.shape)
    spectrum = to_fourier(torch.from_numpy(noise).to(volume), 3)
    radius = frequency_radius(volume.shape[-1], 3, volume.device)
    smooth = to_real(spectrum * (radius <= rings), 3) * volume.clamp(min=0)
    scale = strength * volume.norm() / smooth.norm().clamp(min=1e-20)
    return (volume + scale * smooth).clamp(min=0)
