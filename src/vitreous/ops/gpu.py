"""Posterior weights of a tile of images on a GPU, compiled by Triton.

As :mod:`vitreous.ops.sweep`, with a block of references in each program.  A first kernel
finds the highest score of every image and block; a second one makes the scores anew, now that
what they are relative to is known, sums their exponentials and turns them back in place.  The
scores themselves are never written to memory.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vitreous.math.constants import LOWEST

_BLOCK = 16
"""References in a program: the least that its matrix products take."""


@triton.jit
def _scores(
    products, norms, on, x, image, d, columns, images, references, even,
    rows: tl.constexpr, angles: tl.constexpr, rows_2: tl.constexpr, angles_2: tl.constexpr,
):  # fmt: skip
    """Scores (in-plane angles, references) of one image and shift."""
    row = tl.arange(0, rows_2)
    residue, part = row // 2, row % 2
    angle = tl.arange(0, angles_2)
    place = part[:, None] * references + d[None, :]
    used = (row < rows)[:, None]
    at = (residue[:, None] * columns + x) * 2 * references + place
    z = tl.load(products + at, mask=used, other=0.0).to(tl.float32)
    at = (residue[:, None] * images + image) * 2 * references + place
    z += tl.load(norms + at, mask=used & (residue < even)[:, None], other=0.0)
    wave = (angle < angles)[:, None] & (row < rows)[None, :]
    turn = tl.load(on + angle[:, None] * rows + row[None, :], mask=wave, other=0.0)
    score = tl.dot(turn, z, input_precision="ieee")
    return tl.where((angle < angles)[:, None], score, -1e30)


@triton.jit
def _highest(
    products, norms, on, peaks, places, shifts, columns, images, references, even,
    rows: tl.constexpr, angles: tl.constexpr, rows_2: tl.constexpr, angles_2: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Highest score of each image and block of references, and where it is."""
    image, number = tl.program_id(0), tl.program_id(1)
    lane = tl.arange(0, block)
    d = number * block + lane
    flat = tl.arange(0, angles_2)[:, None] * block + lane[None, :]
    best, place = -3e30, 0
    for t in range(shifts):
        score = _scores(
            products, norms, on, image * shifts + t, image, d, columns, images, references, even,
            rows, angles, rows_2, angles_2,
        )  # fmt: skip
        high = tl.max(score)
        first = tl.min(tl.where(score == high, flat, angles_2 * block))
        place = tl.where(high > best, t * angles_2 * block + first, place)
        best = tl.maximum(best, high)
    tl.store(peaks + image * tl.num_programs(1) + number, best)
    tl.store(places + image * tl.num_programs(1) + number, place)


@triton.jit
def _weights(
    products, norms, on, peak, orientation_posterior, shifts, columns, images, references, even,
    back: tl.constexpr, rows: tl.constexpr, angles: tl.constexpr, rows_2: tl.constexpr,
    angles_2: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Sums of the exponentials; their turned values in place of products and norms."""
    image, number = tl.program_id(0), tl.program_id(1)
    d = number * block + tl.arange(0, block)
    row, angle = tl.arange(0, rows_2), tl.arange(0, angles_2)
    residue, part = row // 2, row % 2
    place = part[:, None] * references + d[None, :]
    used = (row < rows)[:, None]
    wave = (row < rows)[:, None] & (angle < angles)[None, :]
    turn = tl.load(on + angle[None, :] * rows + row[:, None], mask=wave, other=0.0)
    high = tl.load(peak + image)
    total = tl.zeros((block,), tl.float32)
    summed = tl.zeros((rows_2, block), tl.float32)
    for t in range(shifts):
        x = image * shifts + t
        score = _scores(
            products, norms, on, x, image, d, columns, images, references, even,
            rows, angles, rows_2, angles_2,
        )  # fmt: skip
        weight = tl.exp2(score - high)
        total += tl.sum(weight, axis=0)
        if back:
            turned = tl.dot(turn, weight, input_precision="ieee")
            summed += turned
            at = (residue[:, None] * columns + x) * 2 * references + place
            tl.store(products + at, turned.to(products.dtype.element_ty), mask=used)
    tl.store(orientation_posterior + image * references + d, total)
    if back:
        at = (residue[:, None] * images + image) * 2 * references + place
        tl.store(norms + at, summed, mask=used & (residue < even)[:, None])


def sweep(
    products: Tensor, norms: Tensor, on: Tensor, *, back: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weigh all places of some images; see :func:`vitreous.ops.weights.weigh`.

    Parameters
    ----------
    products : tensor (residues, images * shifts, 2 * references)
        A multiple of 16 references.  If ``back``, overwritten with the turned weights.
    norms : tensor (even residues, images, 2 * references)
        If ``back``, overwritten with the turned weights summed over shifts.
    on : tensor (in-plane angles, residues * 2)
    back : bool

    Returns
    -------
    orientation_posterior : tensor (images, references)
        Sums of the weights, relative to the image's highest.
    peak : tensor (images,)
    psi, reference, shift : integer tensors (images,)
    """
    (angles, rows), (even, images) = on.shape, norms.shape[:2]
    columns, references = products.shape[1], products.shape[2] // 2
    shifts, blocks = columns // images, references // _BLOCK
    angles_2, rows_2 = (max(16, triton.next_power_of_2(n)) for n in (angles, rows))
    peaks = torch.full((images, blocks), LOWEST, device=on.device)
    places = torch.zeros(images, blocks, dtype=torch.int32, device=on.device)
    orientation_posterior = torch.empty(images, references, device=on.device)
    sizes: dict[str, Any] = {"rows": rows, "angles": angles, "rows_2": rows_2, "angles_2": angles_2}
    shape = (shifts, columns, images, references, even)
    grid = (images, blocks)
    _highest[grid](products, norms, on, peaks, places, *shape, **sizes, block=_BLOCK)
    peak, number = peaks.max(dim=1)
    _weights[grid](
        products, norms, on, peak, orientation_posterior, *shape, back, **sizes, block=_BLOCK
    )
    place = places.gather(1, number[:, None])[:, 0].long()
    rest = place % (angles_2 * _BLOCK)
    shift = torch.div(place, angles_2 * _BLOCK, rounding_mode="floor")
    psi = torch.div(rest, _BLOCK, rounding_mode="floor")
    return orientation_posterior, peak, psi, number * _BLOCK + rest % _BLOCK, shift
