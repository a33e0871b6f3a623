"""E-step and M-step as matrix products over angular frequencies.

On rings, turning an image in its plane multiplies its angular Fourier coefficients by phases.
So the scores of all in-plane angles follow from one product per angular frequency m,

    Z_m = sum over rings of w conj(Y_m) P_m         [directions x images and shifts]
    log w(psi) = Re sum over m of Z_m exp(i m psi)  [angles x frequencies] . [frequencies x ...]

both of them real matrix products, and the sums of the M-step are their transposes.  Friedel
symmetry makes even-m coefficients those of the real part and odd-m those of the imaginary part
of the half-ring samples, so m >= 0 is enough.  The readable twin is
:func:`vitreous.search.score.reference_log_likelihood`.
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
    """Matrices between half-ring samples and angular Fourier coefficients of one parity.

    Attributes
    ----------
    frequencies : tensor (m,)
        The angular frequencies, all even or all odd.
    analyse : tensor (2 m, half)
        Samples to (cosine, minus sine) coefficients, m-major.
    synthesise : tensor (half, 2 m)
        Back again.
    multiplicity : tensor (m,)
        How often a frequency counts: 2, for itself and its negative; 1 at zero and at Nyquist.
    """

    frequencies: Float[Tensor, " m"]
    analyse: Float[Tensor, "m2 half"]
    synthesise: Float[Tensor, "half m2"]
    multiplicity: Float[Tensor, " m"]


def angular_basis(polar: PolarGrid, parity: int, device: torch.device) -> AngularBasis:
    """Coefficients of the even (``parity`` 0) or odd (1) frequencies up to the rings' Nyquist."""
    m = torch.arange(parity, polar.half + 1, 2, dtype=torch.float64)
    angle = torch.arange(polar.half, dtype=torch.float64) * (2 * math.pi / polar.n_angles)
    phase = m[:, None] * angle
    wave = torch.stack([torch.cos(phase), -torch.sin(phase)], dim=1)  # (m, 2, half)
    multiplicity = torch.where((m == 0) | (m == polar.half), 1.0, 2.0).double()
    analyse = (wave * 2 / polar.n_angles).reshape(-1, polar.half)
    synthesise = (wave * multiplicity[:, None, None]).reshape(-1, polar.half).T
    return AngularBasis(
        m.float().to(device),
        analyse.float().contiguous().to(device),
        synthesise.float().contiguous().to(device),
        multiplicity.float().to(device),
    )


def psi_matrix(basis: AngularBasis, psi: Float[Tensor, " p"]) -> Float[Tensor, "p m2"]:
    """Matrix from products Z_m, as (real, imaginary), to scores at in-plane angles."""
    phase = psi.to(basis.frequencies)[:, None] * basis.frequencies
    wave = torch.stack([torch.cos(phase), -torch.sin(phase)], dim=-1)
    return wave.flatten(1)


def analyse_real(
    samples: Float[Tensor, "half rings *x"], basis: AngularBasis
) -> Float[Tensor, "m 2rings x"]:
    """Angular coefficients of real samples (angle first): cosine rows above sine rows."""
    half, rings = samples.shape[:2]
    flat = basis.analyse @ samples.reshape(half, -1)
    return flat.view(len(basis.frequencies), 2 * rings, -1)


def analyse_images(
    centred: Complex[Tensor, "half rings *x"], even: AngularBasis, odd: AngularBasis
) -> tuple[Float[Tensor, "me 2rings x"], Float[Tensor, "mo 2rings x"]]:
    """Angular coefficients (real rows above imaginary rows) of Friedel-symmetric samples."""
    from_real = analyse_real(centred.real, even)
    from_imaginary = analyse_real(centred.imag, odd)
    # The odd coefficients are i times the transform of the imaginary part.
    rings = from_imaginary.shape[1] // 2
    cosine, sine = from_imaginary[:, :rings], from_imaginary[:, rings:]
    return from_real, torch.cat([-sine, cosine], dim=1)


def correlation_operand(
    coefficients: Float[Tensor, "m 2rings d"],
    weight: Float[Tensor, " rings"],
    basis: AngularBasis,
) -> Float[Tensor, "m 2d 2rings"]:
    """Left operand of the products Z_m from a reference's coefficients, rings weighted."""
    rings = len(weight)
    scale = basis.multiplicity[:, None, None] * weight
    real = coefficients[:, :rings].transpose(1, 2) * scale
    imaginary = coefficients[:, rings:].transpose(1, 2) * scale
    top = torch.cat([real, imaginary], dim=2)
    bottom = torch.cat([imaginary, -real], dim=2)
    return torch.cat([top, bottom], dim=1).contiguous()


def scores(
    operands: list[Float[Tensor, "m 2d 2rings"]],
    images: list[Float[Tensor, "m 2rings x"]],
    to_psi: Float[Tensor, "p m2"],
) -> Float[Tensor, "p d x"]:
    """Ring-weighted real inner products at every in-plane angle, direction and column.

    ``operands``, ``images`` are lists by parity; ``to_psi`` has their columns side by side.
    """
    products = [torch.bmm(a, b) for a, b in zip(operands, images, strict=True)]
    directions = operands[0].shape[1] // 2
    stacked = torch.cat([z.view(2 * z.shape[0], -1) for z in products])
    return (to_psi @ stacked).view(len(to_psi), directions, -1)


def backproject(
    weights: Float[Tensor, "p d x"],
    images: list[Float[Tensor, "m 2rings x"]],
    from_psi: Float[Tensor, "m2 p"],
) -> list[Float[Tensor, "m 2rings d"]]:
    """Weighted sums of images turned back by their in-plane angles: the transpose of ``scores``.

    ``from_psi`` is the transpose of the psi matrix.
    """
    directions = weights.shape[1]
    turned = from_psi @ weights.reshape(len(weights), -1)
    sums, start = [], 0
    for image in images:
        m, rings = image.shape[0], image.shape[1] // 2
        spectrum = turned[start : start + 2 * m].view(m, 2 * directions, -1)
        start += 2 * m
        product = torch.bmm(image, spectrum.transpose(1, 2))  # (m, 2 rings, 2 d)
        by_cos, by_sin = product[..., :directions], product[..., directions:]
        real = by_cos[:, :rings] - by_sin[:, rings:]
        imaginary = by_cos[:, rings:] + by_sin[:, :rings]
        sums.append(torch.cat([real, imaginary], dim=1))
    return sums


def ring_samples(
    even: Float[Tensor, "me 2rings d"],
    odd: Float[Tensor, "mo 2rings d"],
    even_basis: AngularBasis,
    odd_basis: AngularBasis,
) -> Complex[Tensor, "half rings d"]:
    """Half-ring samples of a Friedel-symmetric function from its angular coefficients."""
    rings = even.shape[1] // 2
    real = real_samples(even, even_basis)
    turned = torch.cat([odd[:, rings:], -odd[:, :rings]], dim=1)  # divide by i
    return torch.complex(real, real_samples(turned, odd_basis))


def real_samples(
    coefficients: Float[Tensor, "m 2rings d"], basis: AngularBasis
) -> Float[Tensor, "half rings d"]:
    """Half-ring samples of a real function from its angular coefficients of one parity."""
    m, rings2, d = coefficients.shape
    flat = basis.synthesise @ coefficients.reshape(2 * m, -1)
    return flat.view(-1, rings2 // 2, d)


def ring_inner_products(
    a: list[Float[Tensor, "m 2rings d"]],
    b: list[Float[Tensor, "m 2rings d"]],
    bases: list[AngularBasis],
) -> Float[Tensor, " rings"]:
    """Mean round each ring of Re conj(a) b, summed over columns (Parseval)."""
    total = torch.zeros(a[0].shape[1], device=a[0].device)
    for x, y, basis in zip(a, b, bases, strict=True):
        total += (basis.multiplicity[:, None] * (x * y).sum(-1)).sum(0)
    rings = len(total) // 2
    return total[:rings] + total[rings:]
