"""What a job does with the findings on its input before it begins."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from vitreous.jobs.check.preflight import RESOLUTION, preflight
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.runs.options import AUTO, chosen_mask_diameter


class Checked(Protocol):
    """Options of a job that looks at its images first."""

    @property
    def ctf(self) -> bool: ...  # noqa: D102

    @property
    def phase_flipped(self) -> bool: ...  # noqa: D102

    @property
    def check(self) -> bool: ...  # noqa: D102

    @property
    def mask_diameter(self) -> float | Literal["auto"]: ...  # noqa: D102


def preflighted(
    options: Checked, table: ParticleSet, source: ImageSource, resolution: float = RESOLUTION
) -> tuple[float, list[str], dict[str, Any]]:
    """Check the images, and choose the mask diameter where it is not given.

    Parameters
    ----------
    resolution : float, optional
        That the job aims at, angstrom.

    Returns
    -------
    mask_diameter : float
        In angstrom.
    warnings : list of str
        Errors among them, where the job goes on all the same.
    record : dict
        Of the pre-flight, for result.json.

    Raises
    ------
    OptionError, InputError
        For the first thing that cannot be used.
    """
    given = options.mask_diameter
    found = preflight(
        table,
        source,
        ctf=options.ctf,
        phase_flipped=options.phase_flipped,
        resolution=resolution,
        mask_diameter=None if given == AUTO else given,
    )
    if options.check:
        found.stop_on_error(table.path)
    errors = [finding.line() for finding in found.of("error")]
    diameter = chosen_mask_diameter(given, table, found.estimates.mask_diameter)
    return diameter, [*table.notes, *errors, *found.warnings], found.record()
