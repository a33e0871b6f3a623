"""A job's folder given in the place of its particles' file: RELION's, cryoSPARC's or our own."""

from __future__ import annotations

import re
from pathlib import Path

from vitreous.errors import InputError

_ITERATION = re.compile(r"run_(?:ct\d+_)?it(\d+)_data\.star")
_CRYOSPARC = re.compile(r"(?:cryosparc_P\d+_)?J\d+_(?:(\d{3,})_)?particles(?:_selected)?\.cs")

_NAMED = (
    *("particles.star", "run_data.star", "particles_ctf_refine.star", "shiny.star"),
    *("join_particles.star", "particles_selected.cs", "extracted_particles.cs"),
)
"""Files that a job leaves in the end; the first there counts: beside our particles.star a 2D
classification leaves run_data.star for RELION."""


def _last(folder: Path, pattern: re.Pattern[str]) -> Path | None:
    """File of the last iteration."""
    found = [
        (int(match[1] or 0), file.stat().st_mtime, file)
        for file in folder.iterdir()
        if (match := pattern.fullmatch(file.name))
    ]
    return max(found, default=(0, 0, None))[2]


def particles_file(path: Path) -> Path:
    """The particles' file of a job's folder: of its last iteration; other paths as they are.

    Raises
    ------
    InputError
        For a folder without one.
    """
    if not path.is_dir():
        return path
    there = (path / name for name in _NAMED if (path / name).is_file())
    found = next(there, None) or _last(path, _ITERATION) or _last(path, _CRYOSPARC)
    if found is None:
        raise InputError(
            f"is a folder without a job's particles ({_NAMED[1]}, run_itNNN_data.star, "
            f"{_NAMED[0]}, JNN_NNN_particles.cs)",
            where=path,
            hint="name the file of particles itself",
        )
    return found
