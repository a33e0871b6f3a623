"""One pass of 2D classification over some particles: what it finds, and the sums of its M-step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from vitreous.engine.class_averages import ClassSums, no_class_sums
from vitreous.engine.grid_pass import GATHERED
from vitreous.engine.images import Frame
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.classes import (
    ClassEstimates,
    class_references,
    compare,
    no_class_estimates,
)
from vitreous.engine.searches.fixed import compare_at_poses, turned
from vitreous.engine.searches.grid import RingSums, Trial
from vitreous.engine.searches.tiles import Tiling
from vitreous.engine.shards import Batch, ShardSums, placed
from vitreous.imaging.polar import PolarGrid
from vitreous.imaging.project import shift_phase
from vitreous.particles.loader import ahead


@dataclass(frozen=True)
class ClassModel:
    """What images are compared with.

    Attributes
    ----------
    averages : complex tensor (classes, rings, half)
        On all rings of the frame.
    noise : tensor (groups, rings)
        Expected noise power at a frequency of the unmasked images.
    scale : tensor (groups,)
        Contrast of the optics groups' images beside each other.
    class_priors : tensor (classes,)
    """

    averages: Complex[Tensor, "k rings half"]
    noise: Float[Tensor, "g rings"]
    scale: Float[Tensor, " g"]
    class_priors: Float[Tensor, " k"]


@dataclass(frozen=True)
class InPlane:
    """Where a pass looks.

    Attributes
    ----------
    n_psi : int
        Equally spaced in-plane angles, from 0.
    shifts : tensor (shifts, 2)
        Working pixels.
    rings : int
        Rings used.
    range : int
        Shifts of the whole range that these are some of: the prior is spread over all.
    """

    n_psi: int
    shifts: Float[Tensor, "t 2"]
    rings: int
    range: int


@dataclass(frozen=True)
class Given:
    """What is known of each particle of the table before a pass.

    Attributes
    ----------
    origins : tensor (particles, 2)
        Shifts already applied, working pixels: others are tried round them.
    psi : tensor (particles,), optional
        In-plane angles in radians that particles keep, as they do their origins.
    allowed : bool tensor (particles, classes), optional
        Classes to try; all by default.
    """

    origins: Float[Tensor, "n 2"]
    psi: Float[Tensor, " n"] | None = None
    allowed: Bool[Tensor, "n k"] | None = None

    def placed(
        self, rows: Int[Tensor, " m"], samples: Tensor, ctf: Tensor, polar: PolarGrid, box: int
    ) -> tuple[Complex[Tensor, "m rings half"], Float[Tensor, "m rings half"]]:
        """Ring samples and CTFs of these particles, moved and turned as far as it is known."""
        device = samples.device
        phase = shift_phase(polar.points(device), self.origins[rows].to(device), box)
        if self.psi is None:
            return samples * phase, ctf
        psi = self.psi[rows].to(device)
        return turned(samples * phase, psi), turned(ctf.to(samples.dtype), psi).real


@dataclass(frozen=True)
class ClassSearch:
    """The particles of a classification, and how they are compared with classes.

    Attributes
    ----------
    images : RingImages
    frame : Frame
    device : torch.device
    tiling : Tiling
    """

    images: RingImages
    frame: Frame
    device: torch.device
    tiling: Tiling

    def inner(self, rings: int) -> PolarGrid:
        """The first rings, with the angles that all have: sums of every pass lie on these."""
        polar = self.frame.polar
        return PolarGrid(polar.n_angles, polar.bands[:rings])


@dataclass(frozen=True)
class ClassPass:
    """What a pass found.

    Attributes
    ----------
    found : ClassEstimates
        In the order of the particles given.
    sums : ClassSums
    """

    found: ClassEstimates
    sums: ClassSums


def psi_count(step: float) -> int:
    """How many in-plane angles lie a step in degrees apart, or somewhat less.

    A multiple of four, as the compiled kernel wants it.
    """
    return 4 * math.ceil(90 / step - 1e-6)


def class_pass(
    search: ClassSearch,
    model: ClassModel,
    places: InPlane,
    index: Int[Tensor, " b"],
    given: Given,
    similarity: float = 0.0,
) -> ClassPass:
    """Compare some particles with all classes at every in-plane angle and shift.

    Parameters
    ----------
    index : integer tensor (particles,)
        Rows of the table.  Where ``given.allowed`` leaves classes out, those of a class should be
        neighbours.
    similarity : float
        Class similarity.
    """
    groups, (classes, rings, half) = len(model.noise), model.averages.shape
    empty = partial(no_class_sums, (classes, rings, half), places.rings, groups, search.device)
    sums = ShardSums(search.images.shards, empty)

    def parts() -> Iterator[tuple[Tensor, ClassEstimates]]:
        for portion in _compared(search, model, places, index, (given, similarity, True)):
            assert portion.sums is not None
            batch, share = portion.batch, search.images.mask_share
            noise = model.noise[batch.group, : places.rings]
            _add(sums.of(batch.shard), portion.sums, batch.group, noise, share)
            yield batch.member, portion.found

    found = _placed(search, index, parts(), classes)
    return ClassPass(found, sums.total())


def class_estimates(
    search: ClassSearch,
    model: ClassModel,
    places: InPlane,
    index: Int[Tensor, " b"],
    given: Given,
) -> ClassEstimates:
    """What :func:`class_pass` finds, without the sums."""
    portions = _compared(search, model, places, index, (given, 0.0, False))
    parts = ((portion.batch.member, portion.found) for portion in portions)
    return _placed(search, index, parts, len(model.averages))


def _placed(
    search: ClassSearch,
    index: Int[Tensor, " b"],
    parts: Iterator[tuple[Tensor, ClassEstimates]],
    classes: int,
) -> ClassEstimates:
    blank = no_class_estimates(len(index), classes, search.device)
    return placed(search.images.shards, index, parts, blank)


@dataclass(frozen=True)
class _Portion:
    """A batch of particles, by their places in the index, compared."""

    batch: Batch
    found: ClassEstimates
    sums: RingSums | None


def _compared(
    search: ClassSearch,
    model: ClassModel,
    places: InPlane,
    index: Int[Tensor, " b"],
    how: tuple[Given, float, bool],
) -> Iterator[_Portion]:
    """Compare particles portion by portion; ``how`` adds class similarity and whether to sum."""
    given, similarity, accumulate = how
    polar, device, box = search.inner(places.rings), search.device, search.frame.box
    averages = model.averages[:, : places.rings]
    images = search.images.with_group_scales(model.scale)
    tried = len(places.shifts) / places.range if given.psi is None else 1.0
    priors = model.class_priors.clamp(min=1e-6).log() + math.log(tried)
    refs = class_references(averages, places.n_psi, polar) if given.psi is None else None
    batches = images.shards.batches(index, images.group[index], GATHERED)
    for batch, read in ahead(batches, lambda batch: images.at(index[batch.member], polar)):
        rows, noise = index[batch.member], model.noise[batch.group, : places.rings]
        samples, ctf = given.placed(rows, *read, polar, box)
        if refs is None:
            compared = compare_at_poses(averages, samples, ctf, noise, priors, polar)
            yield _Portion(batch, *compared)
            continue
        how_tried = (search.tiling, similarity, accumulate)
        trial = Trial(refs, noise, places.shifts, box, priors, *how_tried)
        allowed = None if given.allowed is None else given.allowed[rows].to(device)
        yield _Portion(batch, *compare(trial, samples, ctf, allowed))


def _add(
    total: ClassSums, part: RingSums, number: int, noise: Float[Tensor, " rings"], share: float
) -> None:
    """Add what was found of some particles of an optics group."""
    rings = len(noise)
    over = (1 / (noise * share))[:, None]
    total.data[:, :rings] += part.data * over
    total.weight[:, :rings] += part.weight * over
    total.residual[number] += part.residual
    total.count[number] += part.count
    radii = torch.arange(rings, device=noise.device) + 0.5
    total.fit[number] += torch.stack([part.product, part.power]) @ (radii / noise)
