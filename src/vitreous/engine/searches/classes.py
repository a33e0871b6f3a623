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

from vitreous.engine.searches.grid import (
    References,
    RingSums,
    Trial,
    operands_for,
    shares,
    sums_on_rings,
)
from vitreous.engine.searches.per_image import PerImage
from vitreous.engine.searches.tiles import (
    Operands,
    TileSums,
    in_tiles,
    tile_products,
    tile_spectra,
    tile_sums,
)
from vitreous.imaging.polar import PolarGrid
from vitreous.math.constants import LOWEST
from vitreous.ops.angular import analyse, angular_basis, coefficients, psi_matrix
from vitreous.ops.scratch import Scratch
from vitreous.ops.weights import Weighed, weigh

_FEWEST_SHIFTS = 200
"""Images times shifts in a tile of which each image tries some classes only."""

_LEAST_POSTERIOR = 1e-4
"""Posterior below which class similarity teaches a class less: what the kernel leaves out of an
image's posterior amounts to this, and must not be raised."""


@dataclass(frozen=True)
class ClassEstimates(PerImage):
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

    def assigned(self) -> ClassAssignments:
        """What is kept of them, on the host."""
        own = self.by_class.gather(1, self.number[:, None])[:, 0]
        parts = (self.log_evidence, self.probability, own, self.number)
        return ClassAssignments(*(part.cpu() for part in parts))


@dataclass(frozen=True)
class ClassAssignments(PerImage):
    """The class of each image, without the posteriors of all others: these fill much memory.

    Attributes
    ----------
    log_evidence, probability : tensors (images,)
        As estimates have them.
    class_probability : tensor (images,)
        Posterior of the class that each image is in.
    number : integer tensor (images,)
        That class.
    """

    log_evidence: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    class_probability: Float[Tensor, " n"]
    number: Int[Tensor, " n"]


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
    trial: Trial,
    images: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    allowed: Bool[Tensor, "n k"] | None = None,
) -> tuple[ClassEstimates, RingSums | None]:
    """Posterior of every image over all classes, in-plane angles and shifts, and the sums of it.

    Parameters
    ----------
    trial : Trial
        Its references are the class averages, as directions of one map; its prior that of classes.
    images : tensor (images, rings, half)
        Ring samples of one optics group, already moved to their present origins.
    ctf : tensor (images, rings, half)
    allowed : bool tensor (images, classes), optional
        Classes that are tried; the posterior of others is 0.  A tile of images computes those of
        all of its own.
    """
    refs, device, shifts = trial.references, images.device, len(trial.shifts)
    log_prior = trial.log_prior - math.log(refs.n_psi * shifts)
    everything = operands_for(refs, trial.noise, log_prior, trial.tiling.dtype)
    every, whole = torch.arange(len(log_prior), device=device), everything.filled()
    on, phases = psi_matrix(refs.bases), trial.phases(device)
    once = not (trial.similarity and trial.accumulate)

    def chosen_of(tile: Tensor) -> tuple[Tensor, Operands]:
        if allowed is None:
            return every, whole
        chosen = every[allowed[tile].any(dim=0)]
        return chosen, everything.among(chosen)

    def search(tile: Tensor, scratch: Scratch, sums: TileSums) -> ClassEstimates:
        chosen, some = chosen_of(tile)
        columns, squared = tile_spectra(images[tile], ctf[tile], phases, refs.bases, scratch)
        turned, norms = tile_products(some, columns, squared, scratch, "products")
        if allowed is not None:
            norms[0, :, : len(chosen)].masked_fill_(~allowed[tile][:, chosen], LOWEST)
        weighed = weigh(turned, norms, on, back=trial.accumulate and once)
        found = _estimates(weighed, chosen, len(every))
        if not trial.accumulate:
            return found
        if not once:
            norms[0, :, : len(chosen)] += _favour(found, trial.similarity)[:, chosen]
            weighed = weigh(turned, norms, on, back=True)
        share = torch.ones(len(tile), device=device)
        sums.add(*tile_sums(weighed, share, turned, norms, columns, squared), chosen)
        return found

    tiling = trial.tiling
    if allowed is not None:
        tiling = tiling.at_most(math.ceil(_FEWEST_SHIFTS / shifts), trial.scores_each)
    found, sums = in_tiles(search, len(images), trial.scores_each, tiling, everything, allowed)
    if not trial.accumulate:
        return found, None
    alike = torch.ones(len(images), device=device)
    return found, sums_on_rings(refs, images, alike, sums)


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
