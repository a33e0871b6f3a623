"""The micrographs of a job: names for their files, and what each is known by."""

from __future__ import annotations

from pathlib import Path

from vitreous.particles.relion.micrograph_table import MicrographTable


def file_names(table: MicrographTable) -> list[str]:
    """Names for the files made of each micrograph: its own, with its row if another has it too."""
    taken: set[str] = set()
    names = []
    for row, name in enumerate(table.names, 1):
        stem = Path(name).stem
        own = f"{stem}_{row}" if stem in taken else stem
        taken.add(own)
        names.append(own)
    return names


def stamp_of(image: Path) -> str:
    """Size of a micrograph's file, by which a resumed job knows it; empty without the file."""
    return str(image.stat().st_size) if image.is_file() else ""
