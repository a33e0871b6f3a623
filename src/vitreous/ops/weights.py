"""From the products of images and references to posterior weights, ready for backprojection.

Scores are in powers of two: their exponentials cost least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.ops.compiler import COMPILED, as_bits, compiled_for, gpu_compiled_for

if COMPILED:
    from vitreous.ops.sweep import quarter_turns, sweep

_MOST_LANES = 192
"""References that the compiled kernel deals with at once: what its nearest cache holds."""

_LOST = 1e-4
"""Largest share of an image's posterior that leaving out negligible places may lose."""

_ROUND_COLUMNS = 64


@dataclass(frozen=True)
class Weighed:
    """What the posterior of some images amounts to.

    Attributes
    ----------
    log_evidence : tensor (images,)
        Log of the likelihood summed over all places.
    highest : tensor (images,)
        Posterior of the best place.
    orientation_posterior : tensor (images, references)
        Posterior of each reference.
    psi, reference, shift : integer tensors (images,)
        The best place.
    columns : integer tensor (kept,)
        Columns (images and shifts) that hold nearly all of the posterior.
    scale : tensor (kept,)
        Factors that the turned weights of these columns still need.
    """

    log_evidence: Float[Tensor, " n"]
    highest: Float[Tensor, " n"]
    orientation_posterior: Float[Tensor, "n d"]
    psi: Int[Tensor, " n"]
    reference: Int[Tensor, " n"]
    shift: Int[Tensor, " n"]
    columns: Int[Tensor, " kept"]
    scale: Float[Tensor, " kept"]


def lanes_for(references: int) -> tuple[int, int]:
    """How many references are dealt with at once, and to how many to fill up."""
    chunks = math.ceil(references / _MOST_LANES)
    lanes = 16 * math.ceil(references / chunks / 16)
    return lanes, lanes * chunks


def weigh(
    products: Float[Tensor, "all x 2*d"],
    norms: Float[Tensor, "even n 2*d"],
    on: Float[Tensor, "p r2"],
    *,
    back: bool,
) -> Weighed:
    """Posterior of all in-plane angles, references and shifts of some images.

    Parameters
    ----------
    products : tensor (residues, images * shifts, 2 * references)
        Even residues first; float32 or bfloat16.  If ``back``, its first columns are overwritten
        with the weights turned to the residues' phases, up to ``scale``, of those columns that
        the result lists.
    norms : float32 tensor (even residues, images, 2 * references)
        Added to the products of every shift: the slices' power, and log priors in residue 0.  If
        ``back``, overwritten with the turned weights summed over shifts.
    on : tensor (in-plane angles, residues * 2)
        The psi matrix.
    back : bool
        Whether the turned weights are wanted.
    """
    references = products.shape[2] // 2
    if compiled_for(products) and len(on) % 4 == 0 and references % lanes_for(references)[0] == 0:
        return _weigh_on_processor(products, norms, on, back=back)
    if gpu_compiled_for(products) and references % 16 == 0:
        return _weigh_on_gpu(products, norms, on, back=back)
    return weigh_eagerly(products, norms, on, back=back)


def _weigh_on_processor(products: Tensor, norms: Tensor, on: Tensor, *, back: bool) -> Weighed:
    n_psi, references = len(on), products.shape[2] // 2
    images, shifts = norms.shape[1], products.shape[1] // norms.shape[1]
    orientation_posterior, peak = torch.empty(images, references), torch.empty(images)
    place = torch.empty(images, 3, dtype=torch.int64)
    columns, scale = torch.empty(images * shifts, dtype=torch.int64), torch.empty(images * shifts)
    kept = sweep(
        as_bits(products).view(*products.shape[:2], 2, references).numpy(),
        norms.view(*norms.shape[:2], 2, references).numpy(),
        shifts,
        lanes_for(references)[0],
        *quarter_turns(n_psi),
        np.float32(math.log2(n_psi * references * shifts / _LOST)),
        back,
        orientation_posterior.numpy(),
        peak.numpy(),
        place.numpy(),
        columns.numpy(),
        scale.numpy(),
    )
    # Filled up with columns of weight 0: the products' code is made anew for every shape.
    filled = min(len(columns), _ROUND_COLUMNS * math.ceil(kept / _ROUND_COLUMNS))
    columns[kept:filled], scale[kept:filled] = 0, 0
    psi, reference, shift = place.unbind(1)
    return _normalised(
        orientation_posterior,
        peak,
        psi,
        reference,
        shift,
        columns[:filled],
        scale[:filled],
        norms,
        shifts,
        back,
    )


def _weigh_on_gpu(products: Tensor, norms: Tensor, on: Tensor, *, back: bool) -> Weighed:
    from vitreous.ops import gpu  # not at once: Triton takes a second to load

    orientation_posterior, peak, psi, reference, shift = gpu.sweep(products, norms, on, back=back)
    columns = torch.arange(products.shape[1], device=on.device)
    scale, shifts = (
        torch.ones(len(columns), device=on.device),
        len(columns) // len(orientation_posterior),
    )
    return _normalised(
        orientation_posterior, peak, psi, reference, shift, columns, scale, norms, shifts, back
    )


def _normalised(
    orientation_posterior: Tensor,
    peak: Tensor,
    psi: Tensor,
    reference: Tensor,
    shift: Tensor,
    columns: Tensor,
    scale: Tensor,
    norms: Tensor,
    shifts: int,
    back: bool,
) -> Weighed:
    """Divide by the sum over all places what the kernels left relative to the highest."""
    total = orientation_posterior.sum(dim=1)
    if back:
        norms /= total[:, None]
    return Weighed(
        (peak + total.log2()) * math.log(2),
        1 / total,
        orientation_posterior / total[:, None],
        psi,
        reference,
        shift,
        columns,
        scale / total[torch.div(columns, shifts, rounding_mode="floor")],
    )


def weigh_eagerly(
    products: Float[Tensor, "all x 2*d"],
    norms: Float[Tensor, "even n 2*d"],
    on: Float[Tensor, "p r2"],
    *,
    back: bool,
) -> Weighed:
    """The same as :func:`weigh`, step by step, on any device."""
    residues, columns = products.shape[:2]
    even, images = norms.shape[:2]
    shifts = columns // images
    z = products.float().view(residues, images, shifts, 2, -1)
    z = torch.cat([z[:even] + norms.view(even, images, 1, 2, -1), z[even:]])
    score = (on @ z.permute(0, 3, 1, 2, 4).reshape(on.shape[1], -1)).view(
        len(on), images, shifts, -1
    )
    # One dimension at a time: torch reduces several together many times slower.
    by_reference = score.amax(dim=0).amax(dim=1)
    peak, reference = by_reference.max(dim=1)
    columns_of_best = score[:, torch.arange(images, device=score.device), :, reference]
    place = columns_of_best.reshape(images, -1).argmax(dim=1)
    weight = score.sub_(peak[:, None, None]).exp2_()
    orientation_posterior = weight.sum(dim=0).sum(dim=1)
    if back:
        turned = (on.T @ weight.view(len(on), -1)).view(residues, 2, images, shifts, -1)
        products.copy_(turned.permute(0, 2, 3, 1, 4).reshape(products.shape))
        norms.copy_(turned[:even].sum(dim=3).permute(0, 2, 1, 3).reshape(norms.shape))
    psi, shift = torch.div(place, shifts, rounding_mode="floor"), place % shifts
    every = torch.arange(columns, device=score.device)
    ones = torch.ones(columns, device=score.device)
    return _normalised(
        orientation_posterior, peak, psi, reference, shift, every, ones, norms, shifts, back
    )
