"""What the particles themselves say before a search begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vitreous.errors import InputError
from vitreous.jobs.check.estimates import Estimates, measure
from vitreous.jobs.check.finding import Finding, Level
from vitreous.jobs.check.image_findings import (
    contrast_findings,
    correction_findings,
    pixel_findings,
    size_findings,
)
from vitreous.jobs.check.micrograph_findings import micrograph_findings
from vitreous.jobs.check.optics_findings import (
    ctf_findings,
    grid_findings,
    pixel_size_findings,
    reading_findings,
)
from vitreous.jobs.check.pick_findings import (
    distance_findings,
    duplicate_findings,
    view_findings,
)
from vitreous.jobs.check.sample import glance, read_sample
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource

RESOLUTION = 15.0
"""Angstrom that a search aims at where nothing is said."""


@dataclass(frozen=True)
class Preflight:
    """Findings, errors first, and estimates."""

    findings: tuple[Finding, ...]
    estimates: Estimates

    def of(self, level: Level) -> list[Finding]:
        """Findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def warnings(self) -> list[str]:
        """A line for each warning, for the report."""
        return [finding.line() for finding in self.of("warning")]

    def stop_on_error(self, path: Path) -> None:
        """Stop a job that would make nothing of use.

        Raises
        ------
        InputError
            For the first of the errors, naming ``path``.
        """
        for finding in self.of("error"):
            raise InputError(
                f"{finding.what.lower()}: {finding.evidence.rstrip('.')}",
                where=path,
                hint=finding.hint,
            )

    def record(self) -> dict[str, Any]:
        """For result.json."""
        return {
            "findings": [finding.record() for finding in self.findings],
            "estimates": asdict(self.estimates),
        }


def preflight(
    table: ParticleSet,
    source: ImageSource,
    *,
    ctf: bool = True,
    phase_flipped: bool = False,
    resolution: float = RESOLUTION,
    mask_diameter: float | None = None,
    device: torch.device | None = None,
) -> Preflight:
    """Look at a table and a sample of its images before a job begins.

    Parameters
    ----------
    table : ParticleSet
    source : ImageSource
    ctf, phase_flipped : bool
        What the job is going to do: correct for the CTF, and take the phases as flipped.
    resolution : float, optional
        That it aims at, angstrom.
    mask_diameter : float, optional
        That it was given, angstrom.
    device : torch.device, optional
        Where the sample is looked at; by default on the host.

    Raises
    ------
    InputError
        If the table cannot be read as numbers.
    """
    seen = glance(table, source)
    optics = [
        *(ctf_findings(table) if ctf else []),
        *pixel_size_findings(table, source),
        *grid_findings(table),
    ]
    findings = [
        *optics,
        *duplicate_findings(table, seen),
        *micrograph_findings(table, source),
        *view_findings(table),
        *reading_findings(table),
    ]
    found = Estimates(0, resolution)
    if not any(f.level == "error" and f.code.startswith("implausible") for f in optics):
        sample = read_sample(table, source, ctf=ctf, phase_flipped=phase_flipped, device=device)
        found = measure(table, sample.spectra, resolution, ctf=ctf)
        findings += pixel_findings(table, sample, seen)
        findings += contrast_findings(table, found)
        if ctf:
            findings += correction_findings(table, found.correction, phase_flipped=phase_flipped)
        findings += size_findings(table, found, mask_diameter)
        findings += distance_findings(table, found.diameter)
    order = {"error": 0, "warning": 1, "note": 2}
    return Preflight(tuple(sorted(findings, key=lambda f: order[f.level])), found)
