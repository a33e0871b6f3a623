"""One pass of expectation over class averages.

A class is a reference with one direction, so all classes stand where the grid search has the
directions of one map, and the same products give the scores of all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from vitreous.engine.searches.grid import References, RingSums, operands_for, shares, sums_on_rings
from vitreous.engine.searches.tiles import (
    Operands,
    TileSums,
    Tiling,
    tile_products,
    tile_size,
    tile_spectra,
    tile_sums,
)
from vitreous.imaging.polar import PolarGrid
from vitreous.imaging.project import shift_phase
from vitreous.math.constants import LOWEST
from vitreous.ops.angular import analyse, angular_basis, coefficients, psi_matrix
from vitreous.ops.scratch import Scratch
from vitreous.ops.threads import side_by_side, workers_on
from vitreous.ops.weights import Weighed, weigh

_FEWEST_SHIFTS = 100
"""Images times shifts in a tile of which each image tries some classes only."""

_LEAST_POSTERIOR = 1e-4
"""Posterior below which class similarity teaches a class less: what the kernel leaves out of an
image's posterior amounts to this, and must not be raised."""


@dataclass(frozen=True)
class ClassTrial:
    """What images are compared with.

    Attributes
    ----------
    classes : References
        The class averages, as directions of one map.
    noise : tensor (rings,)
        Expected power of the noise at a frequency.
    shifts : tensor (shifts, 2)
        Shifts tried, pixels of ``box``.
    box : int
    log_prior : tensor (classes,)
    tiling : Tiling
    similarity : float
        Class similarity, from 0 (none) to 1: see :func:`vitreous.engine.searches.grid.shares`.
    accumulate : bool
        Whether to make the sums of the M-step.
    """

    classes: References
    noise: Float[Tensor, " rings"]
    shifts: Float[Tensor, "t 2"]
    box: int
    log_prior: Float[Tensor, " k"]
    tiling: Tiling
    similarity: float = 0.0
    accumulate: bool = True


@dataclass(frozen=True)
class ClassEstimates:
    """What was found of each image.

    Attributes
    ----------
    log_evidence : tensor (images,)
        Log of the likelihood over that of an empty class, summed over all places under the prior.
    probability : tensor (images,)
        Posterior of the best place.
    by_class : tensor (images, classes)
        Posterior of each class.
    number, psi, shift : integer tensors (images,)
        Class, in-plane angle and shift of the best place.
    """

    log_evidence: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    by_class: Float[Tensor, "n k"]
    number: Int[Tensor, " n"]
    psi: Int[Tensor, " n"]
    shift: Int[Tensor, " n"]

    def at(self, index: Int[Tensor, " m"]) -> ClassEstimates:
        """The same of some images, in this order."""
        return ClassEstimates(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @property
    def class_probability(self) -> Float[Tensor, " n"]:
        """Posterior of the class that each image is in."""
        return self.by_class.gather(1, self.number[:, None])[:, 0]


def no_class_estimates(count: int, classes: int, device: torch.device) -> ClassEstimates:
    """Room for what is found of some images."""
    evidence, probability = torch.zeros(2, count, device=device)
    number, psi, shift = torch.zeros(3, count, dtype=torch.long, device=device)
    by_class = torch.zeros(count, classes, device=device)
    return ClassEstimates(evidence, probability, by_class, number, psi, shift)


def class_references(
    averages: Complex[Tensor, "k rings half"], n_psi: int, polar: PolarGrid
) -> References:
    """Class averages on rings as references at ``n_psi`` in-plane angles."""
    bases = [angular_basis(polar, n_psi, parity, averages.device) for parity in (0, 1)]
    power = coefficients(averages.abs() ** 2, bases[0])
    return References(polar, bases, analyse(averages, bases), power, 1)


def compare(
    trial: ClassTrial,
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    allowed: Bool[Tensor, "n k"] | None = None,
) -> tuple[ClassEstimates, RingSums | None]:
    """Posterior of every image over all classes, in-plane angles and shifts, and the sums of it.

    Parameters
    ----------
    trial : ClassTrial
    images : tensor (images, rings, half)
        Ring samples of one optics group, already moved to their present origins.
    ctf : tensor (images, rings, half)
    allowed : bool tensor (images, classes), optional
        Classes that are tried; the posterior of others is 0.  A tile of images computes those of
        all of its own, so images with similar ones should be neighbours.
    """
    refs, device, shifts = trial.classes, images.device, len(trial.shifts)
    log_prior = trial.log_prior - math.log(refs.n_psi * shifts)
    operands = operands_for(refs, trial.noise, log_prior, trial.tiling.dtype)
    every = torch.arange(len(trial.log_prior), device=device)
    whole = operands.filled()
    on = psi_matrix(refs.bases)
    phases = shift_phase(refs.polar.points(device), trial.shifts, trial.box)
    scores_each, most = refs.n_psi * len(every) * shifts, trial.tiling.scores
    if allowed is not None:
        most = min(most, scores_each * math.ceil(_FEWEST_SHIFTS / shifts))
    workers = workers_on(device)
    size = tile_size(len(images), scores_each, most, workers)
    tiles = torch.arange(len(images), device=device).split(size)
    workers = min(workers, len(tiles))

    def chosen_of(part: Tensor) -> tuple[Tensor, Operands]:
        if allowed is None:
            return every, whole
        chosen = every[allowed[part].any(dim=0)]
        return chosen, operands.among(chosen)

    def work(worker: int) -> tuple[list[ClassEstimates], TileSums]:
        sums = TileSums(
            [torch.zeros_like(part, dtype=torch.float32) for part in operands.cross],
            torch.zeros_like(operands.norm),
        )
        scratch, found = Scratch(trial.tiling.dtype, device), []
        for part in tiles[worker::workers]:
            chosen, some = chosen_of(part)
            columns, squared = tile_spectra(images[part], ctf[part], phases, refs.bases, scratch)
            turned, norms = tile_products(some, columns, squared, scratch, "products")
            if allowed is not None:
                norms[0, :, : len(chosen)].masked_fill_(~allowed[part][:, chosen], LOWEST)
            once = not (trial.similarity and trial.accumulate)
            weighed = weigh(turned, norms, on, back=trial.accumulate and once)
            found.append(_estimates(weighed, chosen, len(every)))
            if not trial.accumulate:
                continue
            if not once:
                norms[0, :, : len(chosen)] += _favour(found[-1], trial.similarity)[:, chosen]
                weighed = weigh(turned, norms, on, back=True)
            share = torch.ones(len(part), device=device)
            sums.add(*tile_sums(weighed, share, turned, norms, columns, squared), chosen)
        return found, sums

    results = side_by_side(work, workers)
    by_tile = [results[i % workers][0][i // workers] for i in range(len(tiles))]
    if not trial.accumulate:
        return _joined(by_tile), None
    total = results[0][1]
    for _, sums in results[1:]:
        total = total.plus(sums)
    alike = torch.ones(len(images), device=device)
    return _joined(by_tile), sums_on_rings(refs, images, alike, total)


def _estimates(weighed: Weighed, chosen: Int[Tensor, " c"], classes: int) -> ClassEstimates:
    """What was found with the ``chosen`` of all classes."""
    by_class = weighed.highest.new_zeros(len(weighed.highest), classes)
    by_class[:, chosen] = weighed.orientation_posterior[:, : len(chosen)]
    return ClassEstimates(
        weighed.log_evidence,
        weighed.highest,
        by_class,
        chosen[weighed.reference],
        weighed.psi,
        weighed.shift,
    )


def _favour(found: ClassEstimates, similarity: float) -> Float[Tensor, "n k"]:
    """What class similarity adds to the scores, in powers of two."""
    posterior = found.by_class.clamp(min=_LEAST_POSTERIOR)
    return (shares(posterior, similarity) / posterior).log2()


def _joined(parts: list[ClassEstimates]) -> ClassEstimates:
    names = ClassEstimates.__dataclass_fields__
    return ClassEstimates(*(torch.cat([getattr(p, name) for p in parts]) for name in names))
