"""A ChimeraX script that opens a job's maps; it runs in the folder that it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitreous.io.atomic import write_text
from vitreous.report.chart import colour
from vitreous.runs.replacement import CHIMERAX


def chimerax_script(maps: Sequence[str], colouring: str = "") -> str:
    """Commands that open maps side by side, each in the colour that it has on the page.

    Parameters
    ----------
    maps : sequence of str
        Names of files.
    colouring : str
        Map whose values colour the surface of the first, such as a local resolution.
    """
    lines = ["# Opens the maps of this folder in ChimeraX."]
    lines += [f"open {name}" for name in maps]
    lines += [f"color #{number} {colour(number)} models" for number in range(1, len(maps) + 1)]
    if len(maps) > 1:
        lines.append("tile")
    if colouring:
        number = len(maps) + 1
        lines += [f"open {colouring}", f"hide #{number} models", f"color sample #1 map #{number}"]
    return "\n".join([*lines, "view", ""])


def write_chimerax(folder: Path, maps: Sequence[str], colouring: str = "") -> None:
    """Write the script into a job's folder, of the maps that are there."""
    there = [name for name in maps if (folder / name).is_file()]
    if there:
        write_text(folder / CHIMERAX, chimerax_script(there, colouring))
