"""E-step and M-step as matrix products over angular frequencies.

On rings, turning an image in its plane multiplies its angular Fourier coefficients by phases.
So the scores of all in-plane angles follow from one product per angular frequency m,

    Z_m = sum over rings of w conj(Y_m) P_m         [images and shifts x directions]
    log w(psi) = Re sum over m of Z_m exp(i m psi)

and the sums of the M-step are the transposes.  Three things keep the products few and small:

- Friedel symmetry makes even-m coefficients those of the real part and odd-m those of the
  imaginary part of the half-ring samples, so m >= 0 is enough.
- On n equally spaced in-plane angles, all m with the same residue r = +-m (mod n) share their
  phases (the negative ones conjugated).  Their products are added by laying the frequencies of
  a residue side by side along the inner dimension: n / 2 + 1 products instead of one for each m.
- A ring holds frequencies only up to its own band, about pi times its radius: half of the pairs
  of frequency and ring need no arithmetic.

The readable twin is :func:`vitreous.engine.searches.score.reference_log_likelihood`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.imaging.polar import PolarGrid


@dataclass(frozen=True)
class AngularBasis:
    """Pairs of angular frequency and ring of one parity, gathered by residue.

    Residues with fewer pairs than others are filled up with pairs of multiplicity 0.
    Coefficients are kept as (columns, residues, pairs, real and imaginary).

    Attributes
    ----------
    parity : int
        0 for even frequencies, 1 for odd.
    n_psi : int
        Number of in-plane angles.
    ring : integer tensor (residues, pairs)
    sign : tensor (residues, pairs)
        1 where m = r, -1 where m = -r (mod the number of in-plane angles).
    multiplicity : tensor (residues, pairs)
        How often a frequency counts: 2, for itself and its negative; 1 at zero and Nyquist.
    picked : integer tensor (residues * pairs * 2,)
        Where the pairs stand among the coefficients of all rings and frequencies.
    analyse : tensor (half, frequencies * 2)
        Half-ring samples (real part if even, imaginary if odd) to coefficients.
    synthesise : tensor (frequencies * 2, half)
        Back again.
    """

    parity: int
    n_psi: int
    ring: Int[Tensor, "r pairs"]
    sign: Float[Tensor, "r pairs"]
    multiplicity: Float[Tensor, "r pairs"]
    picked: Int[Tensor, " r*pairs*2"]
    analyse: Float[Tensor, "half f2"]
    synthesise: Float[Tensor, "f2 half"]

    @property
    def residues(self) -> Float[Tensor, " r"]:
        """The residues r."""
        count = len(self.sign)
        return torch.arange(count, device=self.sign.device) * 2.0 + self.parity


@lru_cache(maxsize=32)
def angular_basis(polar: PolarGrid, n_psi: int, parity: int, device: torch.device) -> AngularBasis:
    """Gather the pairs of one parity by residue mod ``n_psi``.

    ``n_psi`` must be even: then a residue's frequencies have one parity.
    """
    frequencies = list(range(parity, polar.bandwidth + 1, 2))
    residues = list(range(parity, n_psi // 2 + 1, 2))
    members = [
        [
            (m, ring)
            for m in frequencies
            if (m - r) % n_psi == 0 or (m + r) % n_psi == 0
            for ring, band in enumerate(polar.bands)
            if m <= band
        ]
        for r in residues
    ]
    pairs = max(1, *(len(member) for member in members))
    filled = [member + [(-1, 0)] * (pairs - len(member)) for member in members]
    m, ring = torch.tensor(filled).unbind(-1)
    r = torch.tensor(residues)[:, None]
    single = (m == 0) | (2 * m == polar.n_angles)
    multiplicity = torch.where(m < 0, 0.0, torch.where(single, 1.0, 2.0))
    number = (m.clamp(min=parity) - parity) // 2
    first = 2 * (ring * len(frequencies) + number)
    return AngularBasis(
        parity,
        n_psi,
        ring.to(device),
        torch.where((m - r) % n_psi == 0, 1.0, -1.0).to(device),
        multiplicity.to(device),
        torch.stack([first, first + 1], dim=-1).flatten().to(device),
        *_analysis(polar, parity, device),
    )


@lru_cache(maxsize=32)
def _analysis(
    polar: PolarGrid, parity: int, device: torch.device
) -> tuple[Float[Tensor, "half f2"], Float[Tensor, "f2 half"]]:
    """Matrices from half-ring samples to the coefficients of one parity, and back."""
    frequencies = torch.arange(parity, polar.bandwidth + 1, 2, dtype=torch.float64)
    angle = torch.arange(polar.half, dtype=torch.float64) * (2 * math.pi / polar.n_angles)
    phase = frequencies[:, None] * angle
    # exp(-i m theta), times i for the odd frequencies, which come from the imaginary part.
    parts = [torch.cos(phase), -torch.sin(phase)] if parity == 0 else [phase.sin(), phase.cos()]
    wave = torch.stack(parts, dim=1).flatten(0, 1)
    single = (frequencies == 0) | (frequencies == polar.half)
    each = torch.where(single, 1.0, 2.0).repeat_interleave(2)[:, None]
    forth, back = wave.T * 2 / polar.n_angles, wave * each
    return forth.float().contiguous().to(device), back.float().contiguous().to(device)


def thinned(
    samples: Complex[Tensor, "n rings half"],
    ctf: Float[Tensor, "n rings half"],
    grid: PolarGrid,
    thin: PolarGrid,
) -> tuple[Complex[Tensor, "n rings half2"], Float[Tensor, "n rings half2"]]:
    """Ring samples and CTFs on the same rings with fewer angles, exact within their bands."""
    if thin.n_angles == grid.n_angles:
        return samples, ctf
    same_bands = PolarGrid(grid.n_angles, thin.bands)
    even, odd = (
        _analysis(same_bands, parity, ctf.device)[0] @ _analysis(thin, parity, ctf.device)[1]
        for parity in (0, 1)
    )
    return torch.complex(samples.real @ even, samples.imag @ odd), ctf @ even


def psi_matrix(bases: list[AngularBasis]) -> Float[Tensor, "p r2"]:
    """Matrix from residues' products, as (real, imaginary), to scores at the in-plane angles."""
    n_psi = bases[0].n_psi
    residues = torch.cat([basis.residues for basis in bases]).double()
    steps = torch.arange(n_psi, device=residues.device, dtype=torch.float64)
    phase = steps[:, None] * residues * (2 * math.pi / n_psi)
    return torch.stack([torch.cos(phase), -torch.sin(phase)], dim=-1).flatten(1).float()


def coefficients(
    samples: Float[Tensor, "x rings half"], basis: AngularBasis
) -> Float[Tensor, "x r pairs 2"]:
    """Angular coefficients from real samples of the basis' parity."""
    everywhere = samples @ basis.analyse
    return everywhere.flatten(1)[:, basis.picked].view(len(samples), *basis.sign.shape, 2)


def analyse(
    samples: Complex[Tensor, "x rings half"], bases: list[AngularBasis]
) -> list[Float[Tensor, "x r pairs 2"]]:
    """Angular coefficients of Friedel-symmetric samples, by parity."""
    even, odd = bases
    return [coefficients(samples.real, even), coefficients(samples.imag, odd)]


def by_residue(
    values: Float[Tensor, "x r pairs 2"], dtype: torch.dtype
) -> Float[Tensor, "r x pairs2"]:
    """Coefficients as the operand of products, one for each residue; a view if ``dtype`` fits."""
    return values.to(dtype).flatten(2).transpose(0, 1)


def correlation_operand(
    values: Float[Tensor, "d r pairs 2"],
    weight: Float[Tensor, " rings"],
    basis: AngularBasis,
) -> Float[Tensor, "r 2 d pairs2"]:
    """Other operand of the products Z from a reference's coefficients, rings weighted."""
    scaled = values * (basis.multiplicity * weight[basis.ring])[..., None]
    real, imaginary = scaled.unbind(-1)
    top = torch.stack([real, imaginary], dim=-1)
    bottom = torch.stack([imaginary, -real], dim=-1) * basis.sign[..., None]
    return torch.stack([top, bottom]).permute(2, 0, 1, 3, 4).flatten(3).contiguous()


def products(
    operands: list[Float[Tensor, "r 2 d pairs2"]],
    images: list[Float[Tensor, "r x pairs2"]],
    out: Float[Tensor, "all x 2*d"] | None = None,
) -> Float[Tensor, "all x 2*d"]:
    """Z of every residue, even ones first, for every column of images and every reference."""
    columns, references = images[0].shape[1], operands[0].shape[2]
    if out is None:
        residues = sum(len(operand) for operand in operands)
        out = operands[0].new_empty(residues, columns, 2 * references)
    parts = out.split([len(operand) for operand in operands])
    for part, operand, image in zip(parts, operands, images, strict=True):
        torch.bmm(image, operand.flatten(1, 2).transpose(1, 2), out=part)
    return out


def backprojected(
    turned: Float[Tensor, "all x 2*d"], images: list[Float[Tensor, "r x pairs2"]]
) -> list[Float[Tensor, "r 2*d pairs2"]]:
    """Images summed with the weights of every residue and reference: transposed products."""
    parts = turned.split([len(image) for image in images])
    return [
        torch.bmm(part.transpose(1, 2), image) for part, image in zip(parts, images, strict=True)
    ]


def turned_back(
    sums: Float[Tensor, "r 2 d pairs2"], basis: AngularBasis
) -> Float[Tensor, "d r pairs 2"]:
    """Coefficients of images turned back by their in-plane angles, from backprojected sums."""
    by_cos, by_sin = sums.unflatten(-1, (-1, 2)).unbind(1)
    by_sin = by_sin * basis.sign[:, None, :, None]
    real = by_cos[..., 0] - by_sin[..., 1]
    imaginary = by_cos[..., 1] + by_sin[..., 0]
    return torch.stack([real, imaginary], dim=-1).transpose(0, 1)


def real_samples(
    values: Float[Tensor, "d r pairs 2"], basis: AngularBasis, rings: int
) -> Float[Tensor, "d rings half"]:
    """Half-ring samples (real part if even, imaginary if odd) from angular coefficients."""
    frequencies = len(basis.synthesise)
    used = basis.multiplicity.flatten().repeat_interleave(2) > 0
    everywhere = values.new_zeros(len(values), rings * frequencies)
    everywhere[:, basis.picked[used]] = values.flatten(1)[:, used]
    return everywhere.view(len(values), rings, frequencies) @ basis.synthesise


def ring_samples(
    values: list[Float[Tensor, "d r pairs 2"]], bases: list[AngularBasis], rings: int
) -> Complex[Tensor, "d rings half"]:
    """Half-ring samples of a Friedel-symmetric function from its angular coefficients."""
    real, imaginary = (real_samples(v, b, rings) for v, b in zip(values, bases, strict=True))
    return torch.complex(real, imaginary)


def ring_inner_products(
    a: list[Float[Tensor, "d r pairs 2"]],
    b: list[Float[Tensor, "d r pairs 2"]],
    bases: list[AngularBasis],
    rings: int,
) -> Float[Tensor, " rings"]:
    """Mean round each ring of Re conj(a) b, summed over columns (Parseval)."""
    total = torch.zeros(rings, device=a[0].device)
    for x, y, basis in zip(a, b, bases, strict=True):
        pairs = (x * y).sum(dim=(0, 3)) * basis.multiplicity
        total.index_add_(0, basis.ring.flatten(), pairs.flatten())
    return total
