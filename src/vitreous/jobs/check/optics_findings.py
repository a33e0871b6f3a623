"""What the table says about the microscope: CTF and pixel size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vitreous.jobs.check.finding import Finding
from vitreous.particles.grid import common_grid, different_grids
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource

_DEFOCUS = (1000.0, 100_000.0)
"""Angstrom."""

_MICROMETRES = 100.0
"""A median defocus below this, in angstrom, was most likely given in micrometres."""

_PIXEL_SIZE = (0.2, 20.0)
"""Angstrom."""

_VOLTAGE, _CS, _AMPLITUDE_CONTRAST = (60.0, 400.0), (0.0, 10.0), (0.0, 0.35)
"""kV, mm and a fraction."""

_AGREE = 0.01
"""Relative difference between two statements of one pixel size."""

_UNSET = 1.0
"""Pixel size in headers of programs that do not set it."""


def ctf_findings(table: ParticleSet) -> Iterator[Finding]:
    """Whether the CTF is given and can be true."""
    missing = table.carried.missing_ctf
    if missing:
        columns = ", ".join(missing)
        yield Finding(
            "error",
            "no-ctf",
            "No CTF",
            f"The columns {columns} are missing.",
            "estimate the CTF first, or pass --no-ctf",
        )
    yield from _defocus_findings(table)
    yield from _lens_findings(table)


def _defocus_findings(table: ParticleSet) -> Iterator[Finding]:
    if table.defocus_u is None or table.defocus_v is None:
        return
    mean, count = (table.defocus_u + table.defocus_v) / 2, len(table)
    zero, negative = mean == 0, mean < 0
    if zero.any():
        yield Finding(
            "error" if zero.all() else "warning",
            "zero-defocus",
            "Defocus zero",
            f"{zero.sum()} of {count} particles have a defocus of 0.",
            "estimate the CTF of their micrographs, or remove the particles",
        )
    if negative.any():
        yield Finding(
            "warning",
            "negative-defocus",
            "Negative defocus",
            f"{negative.sum()} of {count} particles are overfocused; underfocus is positive here.",
            "turn the sign of the defocus columns unless the images were taken so",
        )
    given = np.abs(mean[~zero])
    if len(given) == 0:
        return
    low, high = _DEFOCUS
    outside = (given < low) | (given > high)
    if np.median(given) < _MICROMETRES:
        yield Finding(
            "error",
            "defocus-unit",
            "Defocus not in angstrom",
            f"Its median is {np.median(given):.3g}, expected {low:g} to {high:g}.",
            "write the defocus in angstrom (1 micrometre is 10000)",
        )
    elif outside.any():
        yield Finding(
            "warning",
            "implausible-defocus",
            "Implausible defocus",
            f"{outside.sum()} of {count} particles are outside {low:g} to {high:g} A (all: "
            f"{given.min():.0f} to {given.max():.0f} A).",
            "look at the CTF fits of their micrographs",
        )
    micrographs = table.micrograph
    if micrographs is not None and micrographs.n_unique() > 1 and np.ptp(mean) == 0:
        yield Finding(
            "warning",
            "constant-defocus",
            "One defocus for all",
            f"All {micrographs.n_unique()} micrographs have {mean[0]:.0f} A.",
            "estimate the CTF of each micrograph",
        )


def _lens_findings(table: ParticleSet) -> Iterator[Finding]:
    for group in table.optics:
        for value, (low, high), absurd, name, unit, code in (
            (group.voltage, _VOLTAGE, 1000.0, "a voltage", " kV", "voltage"),
            (group.cs, _CS, 1000.0, "a spherical aberration", " mm", "spherical-aberration"),
            (
                group.amplitude_contrast,
                _AMPLITUDE_CONTRAST,
                1.0,
                "an amplitude contrast",
                "",
                "amplitude-contrast",
            ),
        ):
            if low <= value <= high:
                continue
            yield Finding(
                "error" if value < 0 or value > absurd else "warning",
                f"implausible-{code}",
                f"Implausible {name.split(' ', 1)[1]}",
                f"Optics group {group.number} has {name} of {value:g}{unit}, expected {low:g} to "
                f"{high:g}{unit}.",
                "write the true one",
            )


def reading_findings(table: ParticleSet) -> Iterator[Finding]:
    """What the images were taken for, where it is not the usual or not in the table."""
    for note in table.notes:
        yield Finding("note", "as-read", "As the table was read", note, "correct it if it is wrong")


def pixel_size_findings(table: ParticleSet, source: ImageSource) -> Iterator[Finding]:
    """Whether the pixel size can be true, and all that state it agree."""
    low, high = _PIXEL_SIZE
    used = np.array([group.pixel_size for group in table.optics])
    for group in table.optics:
        if not low <= group.pixel_size <= high:
            yield Finding(
                "error",
                "implausible-pixel-size",
                "Implausible pixel size",
                f"Optics group {group.number} has {group.pixel_size:g} A/px, expected {low:g} to "
                f"{high:g}.",
                f"write the true one into {table.carried.called_in_optics('pixel_size')}",
            )
    stated = table.carried.pixel_sizes_stated()
    header = np.array([stack.pixel_size for stack in source.stacks])
    stated["the image files' headers"] = header[np.abs(header - _UNSET) > 1e-3]
    for where, sizes in stated.items():
        given = np.unique(sizes[sizes > 0])
        odd = given[np.abs(given[:, None] / used - 1).min(axis=1) > _AGREE]
        if len(odd):
            yield Finding(
                "warning",
                "contradictory-pixel-size",
                "Contradictory pixel sizes",
                f"{used[0]:g} A/px is used, but {where} say {odd[0]:.4g}.",
                "find out which is true and correct the other",
            )


def grid_findings(table: ParticleSet) -> Iterator[Finding]:
    """Whether the images have to be brought from several grids to one."""
    different = different_grids(table)
    if different is not None:
        yield Finding(
            "note",
            "several-grids",
            "Several boxes or pixel sizes",
            f"There are {different}; searches bring all images to {common_grid(table)}, or to the "
            "reference's grid where that is one of these. A pixel size that is 1 % wrong in one of "
            "them blurs the map.",
            "unless the pixel sizes are known well, make a map from each group alone and give both "
            "to vitreous classify3d as references: it tells where their scales differ",
        )
