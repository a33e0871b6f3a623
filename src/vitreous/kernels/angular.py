"""E-step and M-step as matrix products over angular frequencies.

On rings, turning an image in its plane multiplies its angular Fourier coefficients by phases.
So the scores of all in-plane angles follow from one product per angular frequency m,

    Z_m = sum over rings of w conj(Y_m) P_m         [directions x images and shifts]
    log w(psi) = Re sum over m of Z_m exp(i m psi)

and the sums of the M-step are the transposes.  Two things keep the products few and large:

- Friedel symmetry makes even-m coefficients those of the real part and odd-m those of the
  imaginary part of the half-ring samples, so m >= 0 is enough.
- On n equally spaced in-plane angles, all m with the same residue r = +-m (mod n) share their
  phases (the negative ones conjugated).  Their products are added by laying the frequencies of
  a residue side by side along the inner dimension: n / 2 + 1 products instead of one for each m.

The readable twin is :func:`vitreous.search.score.reference_log_likelihood`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.physics.polar import PolarGrid


@dataclass(frozen=True)
class AngularBasis:
    """Angular frequencies of one parity, gathered by residue.

    A residue's frequencies fill its slots; slots left over have multiplicity 0.  Coefficients
    are kept as (residues, slots, real and imaginary, rings, columns).

    Attributes
    ----------
    parity : int
        0 for even frequencies, 1 for odd.
    residues : tensor (residues,)
    sign : tensor (residues, slots)
        1 where m = r, -1 where m = -r (mod the number of in-plane angles).
    multiplicity : tensor (residues, slots)
        How often a frequency counts: 2, for itself and its negative; 1 at zero and Nyquist.
    analyse : tensor (residues * slots * 2, half)
        Half-ring samples (real part if even, imaginary if odd) to coefficients.
    synthesise : tensor (half, residues * slots * 2)
        Back again.
    """

    parity: int
    residues: Float[Tensor, " r"]
    sign: Float[Tensor, "r s"]
    multiplicity: Float[Tensor, "r s"]
    analyse: Float[Tensor, "rs2 half"]
    synthesise: Float[Tensor, "half rs2"]


def angular_basis(polar: PolarGrid, n_psi: int, parity: int, device: torch.device) -> AngularBasis:
    """Gather the frequencies of one parity, up to the grid's bandwidth, by residue mod ``n_psi``.

    ``n_psi`` must be even: then a residue's frequencies have one parity.
    """
    residues = list(range(parity, n_psi // 2 + 1, 2))
    members = [
        [m for m in range(polar.bandwidth + 1) if (m - r) % n_psi == 0 or (m + r) % n_psi == 0]
        for r in residues
    ]
    slots = max(1, *(len(member) for member in members))
    m = torch.tensor([member + [-1] * (slots - len(member)) for member in members])
    r = torch.tensor(residues)[:, None]
    sign = torch.where((m - r) % n_psi == 0, 1.0, -1.0)
    single = (m == 0) | (2 * m == polar.n_angles)
    multiplicity = torch.where(m < 0, 0.0, torch.where(single, 1.0, 2.0)).double()
    angle = torch.arange(polar.half, dtype=torch.float64) * (2 * math.pi / polar.n_angles)
    phase = m.double()[..., None] * angle
    # exp(-i m theta), times i for the odd frequencies, which come from the imaginary part.
    parts = [torch.cos(phase), -torch.sin(phase)] if parity == 0 else [phase.sin(), phase.cos()]
    wave = torch.stack(parts, dim=2)
    used = (multiplicity > 0)[..., None, None]
    analyse = (wave * used * 2 / polar.n_angles).reshape(-1, polar.half)
    synthesise = (wave * multiplicity[..., None, None]).reshape(-1, polar.half).T
    return AngularBasis(
        parity,
        r[:, 0].float().to(device),
        sign.to(device),
        multiplicity.float().to(device),
        analyse.float().contiguous().to(device),
        synthesise.float().contiguous().to(device),
    )


def psi_matrix(basis: AngularBasis, n_psi: int) -> Float[Tensor, "p r2"]:
    """Matrix from residues' products, as (real, imaginary), to scores at the in-plane angles."""
    steps = torch.arange(n_psi, device=basis.residues.device, dtype=torch.float64)
    phase = steps[:, None] * basis.residues.double() * (2 * math.pi / n_psi)
    return torch.stack([torch.cos(phase), -torch.sin(phase)], dim=-1).flatten(1).float()


def analyse_real(
    samples: Float[Tensor, "half rings x"], basis: AngularBasis
) -> Float[Tensor, "r s 2 rings x"]:
    """Angular coefficients from real samples (angle first) of the basis' parity."""
    half, rings, columns = samples.shape
    flat = basis.analyse @ samples.reshape(half, -1)
    return flat.view(*basis.sign.shape, 2, rings, columns)


def analyse_images(
    samples: Complex[Tensor, "half rings x"], bases: list[AngularBasis]
) -> list[Float[Tensor, "r s 2 rings x"]]:
    """Angular coefficients of Friedel-symmetric samples, by parity."""
    even, odd = bases
    return [analyse_real(samples.real, even), analyse_real(samples.imag, odd)]


def correlation_operand(
    coefficients: Float[Tensor, "r s 2 rings d"],
    weight: Float[Tensor, " rings"],
    basis: AngularBasis,
) -> Float[Tensor, "r 2*d s2rings"]:
    """Left operand of the products Z from a reference's coefficients, rings weighted."""
    scaled = coefficients * basis.multiplicity[:, :, None, None, None] * weight[:, None]
    real, imaginary = scaled.unbind(2)
    sign = basis.sign[:, :, None, None]
    top = torch.stack([real, imaginary], dim=2)
    bottom = torch.stack([imaginary * sign, -real * sign], dim=2)
    both = torch.stack([top, bottom], dim=1)  # residue, row, slot, part, ring, direction
    residues, directions = both.shape[0], both.shape[-1]
    return both.permute(0, 1, 5, 2, 3, 4).reshape(residues, 2 * directions, -1)


def scores(
    operands: list[Float[Tensor, "r 2*d k"]],
    images: list[Float[Tensor, "r s 2 rings x"]],
    to_psi: Float[Tensor, "p r2"],
) -> Float[Tensor, "p d x"]:
    """Ring-weighted real inner products at every in-plane angle, direction and column.

    ``operands`` and ``images`` are lists by parity; ``to_psi`` has their columns side by side.
    """
    directions, columns = operands[0].shape[1] // 2, images[0].shape[-1]
    residues = [len(operand) for operand in operands]
    products = operands[0].new_empty(sum(residues), 2 * directions, columns)
    for part, operand, image in zip(products.split(residues), operands, images, strict=True):
        torch.bmm(operand, image.view(len(image), -1, columns), out=part)
    return (to_psi @ products.view(to_psi.shape[1], -1)).view(-1, directions, columns)


def backproject(
    weights: Float[Tensor, "p d x"],
    images: list[Float[Tensor, "r s 2 rings x"]],
    from_psi: Float[Tensor, "r2 p"],
    bases: list[AngularBasis],
) -> list[Float[Tensor, "r s 2 rings d"]]:
    """Weighted sums of images turned back by their in-plane angles: the transpose of ``scores``.

    ``from_psi`` is the transpose of the psi matrix.
    """
    n_psi, directions, columns = weights.shape
    turned = (from_psi @ weights.view(n_psi, -1)).view(-1, 2 * directions, columns)
    residues = [len(image) for image in images]
    sums = []
    for part, image, basis in zip(turned.split(residues), images, bases, strict=True):
        product = torch.bmm(image.view(len(image), -1, columns), part.transpose(1, 2))
        by_cos, by_sin = product.view(*image.shape[:4], 2, directions).unbind(4)
        by_sin = by_sin * basis.sign[:, :, None, None, None]
        real = by_cos[:, :, 0] - by_sin[:, :, 1]
        imaginary = by_cos[:, :, 1] + by_sin[:, :, 0]
        sums.append(torch.stack([real, imaginary], dim=2))
    return sums


def real_samples(
    coefficients: Float[Tensor, "r s 2 rings d"], basis: AngularBasis
) -> Float[Tensor, "half rings d"]:
    """Half-ring samples (real part if even, imaginary if odd) from angular coefficients."""
    rings, columns = coefficients.shape[3:]
    flat = basis.synthesise @ coefficients.reshape(basis.synthesise.shape[1], -1)
    return flat.view(-1, rings, columns)


def ring_samples(
    coefficients: list[Float[Tensor, "r s 2 rings d"]], bases: list[AngularBasis]
) -> Complex[Tensor, "half rings d"]:
    """Half-ring samples of a Friedel-symmetric function from its angular coefficients."""
    real, imaginary = (real_samples(c, b) for c, b in zip(coefficients, bases, strict=True))
    return torch.complex(real, imaginary)


def ring_inner_products(
    a: list[Float[Tensor, "r s 2 rings d"]],
    b: list[Float[Tensor, "r s 2 rings d"]],
    bases: list[AngularBasis],
) -> Float[Tensor, " rings"]:
    """Mean round each ring of Re conj(a) b, summed over columns (Parseval)."""
    total = torch.zeros(a[0].shape[3], device=a[0].device)
    for x, y, basis in zip(a, b, bases, strict=True):
        total += ((x * y).sum(dim=(2, 4)) * basis.multiplicity[..., None]).sum(dim=(0, 1))
    return total
