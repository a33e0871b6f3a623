"""Tiles of a few images: their products with references, and what they add to the sums.

A tile's products stay in the processor's cache, one tile a core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vitreous.engine.searches.alike_tiles import alike_tiles
from vitreous.engine.searches.per_image import PerImage
from vitreous.math.constants import LOWEST
from vitreous.ops.angular import (
    AngularBasis,
    backprojected,
    by_residue,
    coefficients,
    products,
)
from vitreous.ops.scratch import Scratch
from vitreous.ops.spectra import spectra
from vitreous.ops.threads import side_by_side, workers_on
from vitreous.ops.weights import Weighed, lanes_for

Found = TypeVar("Found", bound=PerImage)

TILE_SCORES = 3_000_000
"""Scores in a tile with one map (12 MB of products at most): measured best on a processor, between
cache misses and the overhead of calls."""


@dataclass(frozen=True)
class Tiling:
    """How the large products are divided and made.

    Attributes
    ----------
    scores : int
        Scores whose products are held at once, for each worker.
    dtype : torch.dtype
        Of the operands.
    """

    scores: int = TILE_SCORES
    dtype: torch.dtype = torch.float32

    def at_most(self, images: int, scores_each: int) -> Tiling:
        """The same with no more than so many images, of so many scores each, at once."""
        return replace(self, scores=min(self.scores, images * scores_each))


@dataclass(frozen=True)
class Operands:
    """Operands of the score products, and the prior, of some references.

    Attributes
    ----------
    cross : list of tensors (residues, 2, references, inner)
        For the inner products with images, by parity.
    norm : tensor (residues, 2, references, inner)
        For the slices' power under squared CTFs.
    prior : tensor (references,)
        Log priors, in powers of two.
    """

    cross: list[Float[Tensor, "_ 2 _ _"]]
    norm: Float[Tensor, "_ 2 _ _"]
    prior: Float[Tensor, " d"]

    def among(self, chosen: Tensor) -> Operands:
        """Those of some references only, filled up for the kernel."""
        cross = [part[:, :, chosen] for part in self.cross]
        return Operands(cross, self.norm[:, :, chosen], self.prior[chosen]).filled()

    def filled(self) -> Operands:
        """The same with impossible references up to a number that suits the kernel."""
        more = lanes_for(len(self.prior))[1] - len(self.prior)
        return Operands(
            [pad(part, (0, 0, 0, more)) for part in self.cross],
            pad(self.norm, (0, 0, 0, more)),
            pad(self.prior, (0, more), value=LOWEST),
        )


@dataclass(frozen=True)
class TileSums:
    """Backprojected sums over images, for every residue and reference; added to in place.

    Attributes
    ----------
    data : list of tensors (residues, 2, references, inner)
        Of CTF times image, by parity.
    weight : tensor (residues, 2, references, inner)
        Of squared CTFs.
    """

    data: list[Float[Tensor, "_ 2 _ _"]]
    weight: Float[Tensor, "_ 2 _ _"]

    def add(self, data: list[Tensor], weight: Tensor, chosen: Tensor) -> None:
        """Add a tile's sums, which are those of the ``chosen`` references first."""
        for total, new in zip([*self.data, self.weight], [*data, weight], strict=True):
            new = new.view(len(new), 2, -1, new.shape[-1])[:, :, : len(chosen)]
            low, high = int(chosen[0]), int(chosen[-1]) + 1
            if high - low == len(chosen):
                total[:, :, low:high].add_(new)
            else:
                total.index_add_(2, chosen, new.to(total.dtype))

    def plus(self, other: TileSums) -> TileSums:
        """Both added."""
        data = [a + b for a, b in zip(self.data, other.data, strict=True)]
        return TileSums(data, self.weight + other.weight)


def no_tile_sums(everything: Operands) -> TileSums:
    """Sums of no images for these references."""
    data = [torch.zeros_like(part, dtype=torch.float32) for part in everything.cross]
    return TileSums(data, torch.zeros_like(everything.norm))


def tile_spectra(
    image: Complex[Tensor, "n rings half"],
    contrast: Float[Tensor, "n rings half"],
    phases: Complex[Tensor, "t rings half"],
    bases: list[AngularBasis],
    scratch: Scratch,
) -> tuple[list[Tensor], Tensor]:
    """Angular coefficients of CTF times image at every shift, and of the squared CTF."""
    squared = by_residue(coefficients(contrast**2, bases[0]), torch.float32)
    return spectra(image, contrast, phases, bases, scratch), squared


def tile_products(
    operands: Operands, columns: list[Tensor], squared: Tensor, scratch: Scratch, name: str
) -> tuple[Tensor, Tensor]:
    """Products with every reference, and the terms that are the same for every shift."""
    residues = sum(len(part) for part in operands.cross)
    room = scratch.take(name, residues, columns[0].shape[1], 2 * len(operands.prior))
    found = products(operands.cross, columns, room)
    norms = products([operands.norm], [squared])
    norms[0, :, : len(operands.prior)] += operands.prior  # residue 0: the same at all angles
    return found, norms


def tile_sums(
    weighed: Weighed,
    share: Float[Tensor, " n"],
    turned: Tensor,
    norms: Tensor,
    columns: list[Tensor],
    squared: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """Backproject the columns of a tile that matter, with their turned weights.

    ``share`` is what the map gets of each image.
    """
    kept, shifts = weighed.columns, columns[0].shape[1] // len(share)
    scale = weighed.scale * share[torch.div(kept, shifts, rounding_mode="floor")]
    some = [part[:, kept].mul_(scale[:, None]) for part in columns]
    shared = squared * share[:, None]
    return backprojected(turned[:, : len(kept)], some), backprojected(norms, [shared])[0]


def tile_size(images: int, scores_each: int, most_scores: int, workers: int) -> int:
    """Images in a tile, such that all workers get about as many.

    A multiple of four where that is little: the products' code is made anew for every shape.
    """
    largest = max(1, most_scores // scores_each)
    rounds = math.ceil(images / (largest * workers))
    size = math.ceil(images / (rounds * workers))
    return size if size < 8 else min(largest, 4 * math.ceil(size / 4))


def in_tiles(
    search: Callable[[Int[Tensor, " m"], Scratch, TileSums], Found],
    images: int,
    scores_each: int,
    tiling: Tiling,
    everything: Operands,
    allowed: Bool[Tensor, "n d"] | None = None,
) -> tuple[Found, TileSums]:
    """Search images a tile at a time, a tile on each core.

    Parameters
    ----------
    search : callable
        Of a tile's images; adds to the sums that it is given.
    images : int
    scores_each : int
        Scores of an image.
    tiling : Tiling
    everything : Operands
        Of all references, whose sums are made.
    allowed : bool tensor (images, references), optional
        References that each image tries: those of a tile then try nearly the same.

    Returns
    -------
    found : PerImage
        What the search gave of all images.
    sums : TileSums
    """
    device = everything.norm.device
    workers = workers_on(device)
    size = tile_size(images, scores_each, tiling.scores, workers)
    if allowed is None:
        tiles = list(torch.arange(images, device=device).split(size))
    else:
        tiles = alike_tiles(allowed, size)
    workers = min(workers, len(tiles))

    def work(worker: int) -> tuple[list[Found], TileSums]:
        sums, scratch = no_tile_sums(everything), Scratch(tiling.dtype, device)
        return [search(tile, scratch, sums) for tile in tiles[worker::workers]], sums

    results = side_by_side(work, workers)
    parts = [results[i % workers][0][i // workers] for i in range(len(tiles))]
    found = type(parts[0]).joined(parts)
    if allowed is not None:
        found = found.at(torch.cat(tiles).argsort())
    total = results[0][1]
    for _, sums in results[1:]:
        total = total.plus(sums)
    return found, total
