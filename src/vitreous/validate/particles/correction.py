"""What has been done about the CTF in images that are said to carry it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.validate.particles.contrast import standard_score
from vitreous.validate.particles.spectra import ImageSpectra, summed

State = Literal["uncorrected", "phase-flipped", "premultiplied", "unrelated"]

SURE = 6.0
"""Standard errors by which one state must explain the images better than every other."""

_FINEST = 10.0
"""Finest resolution in angstrom that the states are compared at."""

_OUTER = 20.0
"""Angstrom: beyond this resolution the images' power is mostly noise."""

_LEAST_RINGS = 3
"""Rings inside that resolution that the images' centring takes."""

_UNMODULATED = 0.3
"""Share of the outer power that does not follow the CTF, below which even the noise does."""

_AMPLIFIED = 1.5
"""The same, above which noise is strongest where the CTF is 0: images were divided by it."""

_REACH, _SHIFT_STEP = 0.06, 0.01
"""Range and step of the shifts tried in centring, in fields of view."""


@dataclass(frozen=True)
class Correction:
    """What the images say.

    Attributes
    ----------
    state : str or None
        ``uncorrected``: as the CTF has it.  ``phase-flipped``: its absolute value fits.
        ``premultiplied``: the noise follows the CTF too.  ``unrelated``: the images fit no CTF
        better than this one.  None where they do not tell.
    margin : float
        Standard errors between it and the next best.
    unmodulated : float or None
        Share of the power beyond 20 A that does not follow the squared CTF, near 1 for images as
        recorded; None where the CTF varies too little to tell.
    """

    state: State | None
    margin: float
    unmodulated: float | None

    @property
    def divided(self) -> bool:
        """Whether the images' noise was divided by the CTF."""
        return self.unmodulated is not None and self.unmodulated > _AMPLIFIED


def unmodulated_power(spectra: ImageSpectra) -> float | None:
    """Share of the outer power that does not follow the squared CTF.

    In each ring the power is fitted by a constant and a multiple of the squared CTF, over images
    and angles.  Noise is recorded after the lens, so it does not know the CTF.
    """
    rings = spectra.radius.round().long()
    outer = spectra.radius > spectra.field / _OUTER
    if not outer.any():
        return None
    bins, count = rings[outer], int(rings.max()) + 1
    square = spectra.transfer[:, outer] ** 2
    power = spectra.samples[:, outer].abs() ** 2
    members = summed(torch.ones_like(power[0]), bins, count) * len(spectra)

    def mean(values: Tensor) -> Tensor:
        return summed(values.sum(dim=0), bins, count) / members.clamp(min=1)

    average = mean(square)
    variance = mean(square**2) - average**2
    slope = (mean(square * power) - average * mean(power)) / variance.clamp(min=1e-9)
    constant = mean(power) - slope * average
    usable = variance > 0.02
    if not usable.any():
        return None
    return float(constant[usable].sum() / mean(power)[usable].sum())


def _first_lobe(spectra: ImageSpectra) -> Float[Tensor, "n p"]:
    """CTFs up to their first zero, where flipping has changed nothing."""
    radius = spectra.radius
    zero = torch.where(spectra.transfer <= 0, radius, torch.inf).amin(dim=1)
    return spectra.transfer * (radius < zero[:, None])


def centred(spectra: ImageSpectra) -> ImageSpectra:
    """Images shifted to where their radial average below the CTF's first zero fits best.

    Frequencies beyond the first zero have no part in the choice.
    """
    near = spectra.within(spectra.field / _OUTER)
    lobe = _first_lobe(near)
    bins = (2 * near.radius).round().long()
    count = int(bins.max()) + 1
    product = summed((near.samples.real * lobe).sum(dim=0), bins, count)
    weight = summed((lobe**2).sum(dim=0), bins, count).clamp(min=1e-9)
    power = summed((near.samples.abs() ** 2).mean(dim=0), bins, count).clamp(min=1e-9)
    template = (product / weight / power).float()[bins]
    axis = torch.arange(-_REACH, _REACH + _SHIFT_STEP / 2, _SHIFT_STEP, device=bins.device)
    shifts = torch.cartesian_prod(axis, axis)

    def moves(points: Tensor, by: Tensor) -> Tensor:
        phase = 2 * math.pi * (points @ by.T)
        return torch.polar(torch.ones_like(phase), phase)

    fit = ((near.samples * lobe * template) @ moves(near.points, shifts)).real
    best = shifts[fit.argmax(dim=1)]
    return ImageSpectra(
        spectra.samples * moves(spectra.points, best).T,
        spectra.transfer,
        spectra.points,
        spectra.field,
    )


def _misfit(
    spectra: ImageSpectra, transfer: Float[Tensor, "n p"], power: Float[Tensor, " p"]
) -> Float[Tensor, " n"]:
    """Squared residual of each image, over the noise, from the radial spectrum that fits best.

    A part that is the same whatever the transfer is left out.
    """
    bins = (2 * spectra.radius).round().long()
    count = int(bins.max()) + 1
    product = summed((spectra.samples.real * transfer).sum(dim=0), bins, count)
    weight = summed((transfer**2).sum(dim=0), bins, count).clamp(min=1e-9)
    model = transfer * (product / weight).float()[bins]
    return ((model**2 - 2 * spectra.samples.real * model) / power).sum(dim=1)


def ctf_correction(spectra: ImageSpectra) -> Correction:
    """Tell what has been done about the CTF, from the images alone.

    The radial average of the images carries the CTF's sign: beyond the first zero it turns with
    the defocus, unless the phases were flipped.  Each state is fitted with a free radial spectrum,
    and two states are compared by the mean over the images of the difference of their misfits, in
    standard errors: Vuong's test, Econometrica 57, 307 (1989).

    Parameters
    ----------
    spectra : ImageSpectra
        With the CTF that the table gives.
    """
    unmodulated = unmodulated_power(spectra)
    if unmodulated is not None and unmodulated < _UNMODULATED:
        return Correction("premultiplied", math.inf, unmodulated)
    if spectra.field < _LEAST_RINGS * _OUTER:
        return Correction(None, 0.0, unmodulated)
    fine = centred(spectra.within(spectra.field / _FINEST))
    ctf, power = fine.transfer, (fine.samples.real**2).mean(dim=0).clamp(min=1e-12)
    misfits: dict[State, Tensor] = {
        "uncorrected": _misfit(fine, ctf, power),
        "phase-flipped": _misfit(fine, ctf.abs(), power),
        "unrelated": _misfit(fine, torch.ones_like(ctf), power),
    }
    best = min(misfits, key=lambda state: float(misfits[state].sum()))
    others = [misfit - misfits[best] for state, misfit in misfits.items() if state != best]
    margin = min(standard_score(excess) for excess in others)
    return Correction(best if margin >= SURE else None, margin, unmodulated)
