"""Estimates from a sample of images, before anything is known of their orientations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vitreous.engine.images import optics_of
from vitreous.imaging.ctf import delocalisation
from vitreous.particles.particle_set import ParticleSet
from vitreous.validate.particles.contrast import SEEN, spectra_contrast
from vitreous.validate.particles.correction import Correction, ctf_correction
from vitreous.validate.particles.diameter import estimated_diameter, mask_for
from vitreous.validate.particles.spectra import ImageSpectra

_FEW, _FEW_FOR_DIAMETER = 100, 300
"""Images below which nothing is measured, and no diameter."""

_FAR = 95
"""Percentile of the defocus that the CTF's delocalisation is judged at."""


@dataclass(frozen=True)
class Estimates:
    """What was measured; None where the images do not tell.

    Attributes
    ----------
    images : int
        Images that it was measured on.
    resolution : float
        That the job aims at, angstrom.
    contrast : float or None
        Mean density in the particles' place in standard errors.
    diameter : float or None
        Of the particle, angstrom.
    mask_diameter : float or None
        That suits it, angstrom.
    correction : Correction or None
        What was done about the CTF.
    delocalisation : float or None
        Of detail at that resolution in the particles farthest from focus, angstrom.
    """

    images: int
    resolution: float
    contrast: float | None = None
    diameter: float | None = None
    mask_diameter: float | None = None
    correction: Correction | None = None
    delocalisation: float | None = None


def far_delocalisation(table: ParticleSet, resolution: float) -> float | None:
    """Delocalisation in angstrom of the particles far from focus; None without CTF columns."""
    if table.defocus_u is None or table.defocus_v is None:
        return None
    mean = (table.defocus_u + table.defocus_v) / 2
    return max(
        delocalisation(
            float(np.percentile(mean[table.group == number], _FAR)), optics_of(group), resolution
        )
        for number, group in enumerate(table.optics)
    )


def measure(
    table: ParticleSet,
    spectra: ImageSpectra,
    resolution: float,
    *,
    ctf: bool,
) -> Estimates:
    """Contrast, CTF correction and diameter.

    Parameters
    ----------
    table : ParticleSet
    spectra : ImageSpectra
        Of a sample of its images.
    resolution : float
        Angstrom.
    ctf : bool
        Whether the table's CTF is to be believed.
    """
    found = Estimates(
        len(spectra), resolution, delocalisation=far_delocalisation(table, resolution)
    )
    if len(spectra) < _FEW:
        return found
    contrast = spectra_contrast(spectra)
    if not ctf or table.defocus_u is None:
        # Without its CTF a particle has lost its low frequencies and looks too small.
        return replace(found, contrast=contrast)
    correction = ctf_correction(spectra)
    found = replace(found, contrast=contrast, correction=correction)
    if correction.divided or abs(contrast) < SEEN or len(spectra) < _FEW_FOR_DIAMETER:
        return found
    transfer = spectra.transfer
    if correction.state == "premultiplied":
        spectra = spectra.with_transfer(transfer**2)
    elif correction.state == "phase-flipped":
        spectra = spectra.with_transfer(transfer.abs())
    diameter = estimated_diameter(spectra, contrast)
    if diameter is None:
        return found
    return replace(found, diameter=diameter, mask_diameter=mask_for(diameter, spectra.field))
