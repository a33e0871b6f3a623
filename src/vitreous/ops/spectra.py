"""Angular coefficients of images at every shift, ready for the products."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.ops.angular import AngularBasis, analyse, by_residue
from vitreous.ops.compiler import COMPILED, as_bits, compiled_for
from vitreous.ops.scratch import Scratch

if COMPILED:
    from vitreous.ops.rings import picked, shifted


def spectra(
    images: Complex[Tensor, "n rings half"],
    contrast: Float[Tensor, "n rings half"],
    phases: Complex[Tensor, "t rings half"],
    bases: list[AngularBasis],
    scratch: Scratch,
) -> list[Float[Tensor, "r x pairs2"]]:
    """Coefficients of CTF times image at every shift, one operand for each parity.

    Parameters
    ----------
    images, contrast : tensors (images, rings, half)
    phases : tensor (shifts, rings, half)
    bases : list of AngularBasis
        Even and odd.
    scratch : Scratch
        Has the operands' number format, and holds them until it is used again.
    """
    if not compiled_for(images):
        return spectra_eagerly(images, contrast, phases, bases, scratch.dtype)
    columns, rings, half = len(images) * len(phases), *images.shape[1:]
    parts = scratch.take("parts", 2, columns * rings, half)
    waves = torch.view_as_real(phases.flatten(1)).permute(2, 0, 1).contiguous().numpy()
    shifted(
        torch.view_as_real(images.flatten(1)).contiguous().numpy(),
        contrast.flatten(1).contiguous().numpy(),
        waves[0],
        waves[1],
        *(as_bits(part).view(columns, -1).numpy() for part in parts),
    )
    found = []
    for part, basis in zip(parts, bases, strict=True):
        matrix = basis.analyse.to(scratch.dtype)
        everywhere = scratch.take("everywhere", columns * rings, matrix.shape[1])
        torch.mm(part, matrix, out=everywhere)
        chosen = scratch.take(f"spectra{basis.parity}", columns, len(basis.picked))
        picked(
            as_bits(everywhere).view(columns, -1).numpy(),
            basis.picked.numpy(),
            as_bits(chosen).numpy(),
        )
        found.append(chosen.view(columns, len(basis.sign), -1).transpose(0, 1))
    return found


def spectra_eagerly(
    images: Complex[Tensor, "n rings half"],
    contrast: Float[Tensor, "n rings half"],
    phases: Complex[Tensor, "t rings half"],
    bases: list[AngularBasis],
    dtype: torch.dtype,
) -> list[Float[Tensor, "r x pairs2"]]:
    """The same as :func:`spectra`, step by step, on any device."""
    centred = ((images * contrast)[:, None] * phases).flatten(0, 1)
    return [by_residue(part, dtype) for part in analyse(centred, bases)]
