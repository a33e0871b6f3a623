"""The particles that a job begins with: of a file, or of a 2D classification's good classes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from vitreous.config.particles import SelectConfig
from vitreous.config.shared import OfChosenParticles
from vitreous.errors import InputError, OptionError
from vitreous.jobs.particles.classes import good_classes, without_junk
from vitreous.jobs.particles.steps import select
from vitreous.particles.files import read_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.runs.replacement import RESULT


def chosen_particles(config: OfChosenParticles) -> ParticleSet:
    """Read the particles that a configuration names.

    Raises
    ------
    OptionError
        If it names none, or names them twice.
    InputError
        For a file that cannot be used, a folder that is no 2D classification's, and one without
        classes worth keeping.
    """
    if config.particles is not None and config.classes2d is not None:
        raise OptionError(
            f"both {config.particles} and {config.classes2d} name the particles",
            where="--classes2d",
            hint="leave one of them out",
        )
    if config.classes2d is not None:
        return _of_good_classes(config.classes2d)
    if config.particles is None:
        raise OptionError(
            "no particles are named",
            where="particles",
            hint="give a STAR or .cs file first, or the folder of vitreous class2d as --classes2d",
        )
    return read_particles(config.particles)


def _of_good_classes(folder: Path) -> ParticleSet:
    """Particles of the classes of a 2D classification that ``select --auto`` keeps, noted."""
    if _job_in(folder) != "class2d":
        raise InputError(
            "is no folder of vitreous class2d",
            where=folder,
            hint="give the folder that vitreous class2d wrote; other particles come first, "
            "without --classes2d",
        )
    table = read_particles(folder)
    ranking, classes = good_classes(table, folder / RESULT, SelectConfig.min_score)
    criteria = without_junk(SelectConfig(folder, out=folder), table, ranking)
    kept = select(table, criteria, classes).table
    note = (
        f"{len(kept)} of the {len(table)} particles in {folder} are used: those of the "
        f"{len(classes)} classes worth keeping ({ranges(classes)}), without junk among them."
    )
    return replace(kept, notes=(*kept.notes, note))


def _job_in(folder: Path) -> str | None:
    """Name of the job that left a folder; None if no finished one did."""
    try:
        record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record.get("job") if isinstance(record, dict) else None


def ranges(numbers: list[int]) -> str:
    """Ascending numbers in few words: ``1-3,5``."""
    ends = [0, *(i for i, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1), len(numbers)]
    parts = [(numbers[first], numbers[last - 1]) for first, last in pairwise(ends)]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
