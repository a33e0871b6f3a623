"""What the images themselves say: sound pixels, contrast, CTF, size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vitreous.jobs.check.estimates import Estimates
from vitreous.jobs.check.finding import Finding, named
from vitreous.jobs.check.sample import Glance, Sample
from vitreous.particles.particle_set import ParticleSet
from vitreous.validate.particles.contrast import SEEN
from vitreous.validate.particles.correction import Correction

_CLIPPED = 0.02
"""Share of an image's pixels at its least or greatest value: more means that it was cut off."""

_OFF = 0.2
"""Deviation of the background's mean from 0, or of its standard deviation from 1."""

_SOME = 0.05
"""Share of images that may deviate so."""

_TIGHT, _ADVISED = 1.25, 1.5
"""Box over diameter: a warning below the one, a note below the other."""


def pixel_findings(table: ParticleSet, sample: Sample, seen: Glance) -> Iterator[Finding]:
    """Dead, broken and clipped images, and whether they are normalised as RELION has them."""
    pixels, rows = sample.pixels, sample.rows
    broken = np.sort(rows[~pixels.finite])
    if len(broken):
        yield Finding(
            "error",
            "not-finite",
            "Images with NaN or infinite values",
            f"{len(broken)} of {len(rows)} looked at: {named(broken, table.row_name)}.",
            "remove these particles or extract them again",
        )
    dead = np.union1d(rows[pixels.constant], seen.rows[seen.dead])
    dead = np.setdiff1d(dead, broken)
    if len(dead):
        yield Finding(
            "error",
            "dead-images",
            "Dead images",
            f"{len(dead)} of {len(seen.rows)} hold one value only, or nothing but invalid ones: "
            f"{named(dead, table.row_name)}.",
            "remove these particles or extract them again",
        )
    clipped = pixels.usable & (pixels.clipped > _CLIPPED)
    if clipped.any():
        yield Finding(
            "warning",
            "saturated",
            "Saturated images",
            f"In {clipped.sum()} of {len(rows)} looked at, more than {_CLIPPED:.0%} of the pixels "
            f"have the least or the greatest value: {named(rows[clipped], table.row_name)}.",
            "extract them without cutting values off, or remove these particles",
        )
    mean, spread = pixels.mean[pixels.usable], pixels.spread[pixels.usable]
    off = (np.abs(mean) > _OFF) | (np.abs(spread - 1) > _OFF)
    if len(off) and off.mean() > _SOME:
        yield Finding(
            "note",
            "not-normalised",
            "Images not normalised",
            f"In the corners of {off.mean():.0%} of them the mean is not 0 or the standard "
            f"deviation not 1 (medians {np.median(mean):.3g} and {np.median(spread):.3g}); "
            "here each image is normalised when it is read, but RELION expects it done.",
            "run relion_preprocess --norm if RELION is to use them",
        )


def contrast_findings(table: ParticleSet, found: Estimates) -> Iterator[Finding]:
    """Dark particles, or none."""
    score, count = found.contrast, found.images
    if score is None:
        return
    if score < -SEEN:
        yield Finding(
            "error",
            "inverted-contrast",
            "Inverted contrast",
            f"The particles are darker than what is round them by {-score:.0f} standard errors "
            f"({count} images).",
            f"invert the images, for instance with relion_image_handler --i {table.stacks[0].name} "
            "--o inverted.mrcs --multiply_constant -1",
        )
    elif score < SEEN:
        yield Finding(
            "warning",
            "no-density",
            "No particles to be seen",
            f"The mean of {count} images has no density in its middle: {score:.1f} standard "
            f"errors, expected more than {SEEN:g}.",
            "look at the images: they may be noise alone, far off their centres, or of another "
            "pixel size",
        )


def correction_findings(
    table: ParticleSet, correction: Correction | None, *, phase_flipped: bool
) -> Iterator[Finding]:
    """Whether what was done about the CTF in the images is what the table or the job says.

    ``correction`` is what the images tell once that is taken back.
    """
    correction = correction or Correction(None, 0.0, None)
    errors = f"{correction.margin:.0f} standard errors"
    flipped, multiplied = table.state.flipped.any(), table.state.premultiplied.any()
    flipped_by = table.called(ParticleSet.phase_flipped)
    multiplied_by = table.called(ParticleSet.ctf_multiplied)
    if correction.state == "premultiplied":
        yield Finding(
            "error",
            "premultiplied",
            "Images multiplied by their CTF",
            f"Their noise follows the squared CTF: {max(correction.unmodulated or 0, 0):.0%} of "
            "the power beyond 20 A does not, expected about all of it.",
            f"set {multiplied_by} to 1 in data_optics if it is so, or extract the particles "
            "without multiplying them",
        )
    elif multiplied and correction.divided:
        yield Finding(
            "error",
            "not-premultiplied",
            "Images not multiplied by their CTF",
            f"The table says so, but divided by it their noise is {correction.unmodulated:.1f} "
            "times as strong at the CTF's zeros as on average, expected no more than elsewhere.",
            f"correct {multiplied_by}",
        )
    elif correction.state == "phase-flipped" and (flipped or phase_flipped):
        yield Finding(
            "error",
            "not-phase-flipped",
            "Phases not flipped",
            f"The CTF's changes of sign are in the images: it explains them better than its "
            f"absolute value by {errors}.",
            f"correct {flipped_by}" if flipped else "leave out --phase-flipped",
        )
    elif correction.state == "phase-flipped":
        yield Finding(
            "error",
            "phase-flipped",
            "Phases flipped already",
            f"The absolute value of the CTF explains the images better than the CTF by {errors}.",
            f"pass --phase-flipped, set {flipped_by} to 1 in data_optics, or extract the particles "
            "without flipping",
        )
    elif correction.state == "unrelated":
        yield Finding(
            "warning",
            "unrelated-ctf",
            "The CTF does not fit the images",
            f"No CTF at all explains their radial average better by {errors}.",
            f"look whether {multiplied_by} is true"
            if multiplied
            else "look whether the defocus values belong to these particles, or whether their CTF "
            "was corrected already (then pass --no-ctf)",
        )


def size_findings(
    table: ParticleSet, found: Estimates, mask_diameter: float | None
) -> Iterator[Finding]:
    """Whether box and mask leave the particle room, and the box what the CTF spreads out."""
    group = min(table.optics, key=lambda g: g.box * g.pixel_size)
    field, diameter = group.box * group.pixel_size, found.diameter
    if diameter is None:
        return
    if field < _ADVISED * diameter:
        pixels = int(np.ceil(_ADVISED * diameter / group.pixel_size / 2) * 2)
        yield Finding(
            "warning" if field < _TIGHT * diameter else "note",
            "tight-box",
            "Tight box",
            f"The box is {field:.0f} A wide, {field / diameter:.2f} times the particle's diameter "
            f"of about {diameter:.0f} A; {_ADVISED:g} times is advisable.",
            f"extract the particles in a box of {pixels} px or more",
        )
    if mask_diameter is not None and mask_diameter < diameter:
        yield Finding(
            "warning",
            "tight-mask",
            "Tight mask",
            f"It is {mask_diameter:g} A across, the particle about {diameter:.0f} A.",
            "give a wider --mask-diameter, or auto",
        )

    margin = max(0.0, (field - diameter) / 2)
    if found.delocalisation is not None and found.delocalisation > margin:
        pixels = int(np.ceil((diameter + 2 * found.delocalisation) / group.pixel_size / 2) * 2)
        yield Finding(
            "warning",
            "delocalisation",
            "Detail spread beyond the box",
            f"At {found.resolution:g} A and far from focus the CTF spreads detail by "
            f"{found.delocalisation:.0f} A, but the box leaves {margin:.0f} A beside the particle.",
            f"extract in a box of {pixels} px, or expect less than that resolution",
        )
