"""The report of an ab initio reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitreous.report import page
from vitreous.report.directions import DirectionDensity
from vitreous.report.examples import examples_section
from vitreous.report.page import plural
from vitreous.report.progress import duration
from vitreous.report.record import Record
from vitreous.report.report_page import ReportPage
from vitreous.report.search import search_section
from vitreous.report.sections import (
    class_densities,
    maps_section,
    particles_section,
)
from vitreous.report.trust import trust_tables

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def _resolutions(record: Record) -> list[float]:
    return [float(c["resolution"]) for c in record.classes if c.get("resolution")]


def _outcome(record: Record) -> str:
    """One sentence: what was made from what, in how long, down to which detail."""
    given = record.result.get("input") or {}
    source = Path(str(given.get("particles", "the particles"))).name
    maps = len(record.classes)
    made = f"{_NUMBERS[maps] if maps < len(_NUMBERS) else maps} 3D map{'' if maps == 1 else 's'}"
    images = given.get("n_particles")
    what = source if images is None else f"{plural(int(images), 'particle image')} of {source}"
    sentence = f"{made} from {what}"
    if _resolutions(record):
        sentence += f", using detail down to {min(_resolutions(record)):.1f} Å"
    total = (record.result.get("timings") or {}).get("total_s")
    return sentence + (f", in {duration(total)}." if total else ".")


def _lead(record: Record) -> str:
    group, found = record.symmetry, record.result.get("symmetry_found")
    if found:
        imposed = str(found)
    elif group.upper() == "C1":
        imposed = "No symmetry was imposed."
    else:
        imposed = f"Symmetry {group} was imposed, not found: check that the molecule has it."
    hand = str(record.result.get("hand", "undetermined"))
    mirror = (
        "The hand is undetermined: particle images cannot tell a molecule from its mirror image, "
        "so a map may have to be flipped once finer detail shows helices."
        if hand == "undetermined"
        else f"Hand: {hand}."
    )
    return f"{imposed} {mirror}"


def _facts(record: Record) -> list[tuple[str, str, str]]:
    result, given = record.result, record.result.get("input") or {}
    facts = []
    if result.get("verdict"):
        facts.append(("Verdict", str(result["verdict"]), str(result.get("sentence", ""))))
    if given.get("n_particles") is not None:
        box, pixel = given.get("box"), given.get("pixel_size")
        remark = f"box {box} px of {pixel:g} Å" if box and pixel else ""
        facts.append(("Particles", f"{int(given['n_particles']):,}", remark))
    if _resolutions(record):
        remark = "finest detail searched; not an FSC between independent halves"
        facts.append(("Detail limit", f"{min(_resolutions(record)):.1f} Å", remark))
    facts.append(("Symmetry", record.symmetry, "" if record.symmetry == "C1" else "imposed"))
    facts.append(("Hand", str(result.get("hand", "undetermined")), ""))
    total = (result.get("timings") or {}).get("total_s")
    if total:
        facts.append(("Time", duration(total), f"on {result.get('device', 'an unnamed device')}"))
    return facts


_LEFT_OUT = {
    "noise": "Noise: {} hold nothing that the maps explain better than an empty one does",
    "other density": "Other density: {} hold density that the maps do not explain, as aggregates, "
    "contaminants and edges do",
    "fragment": "Fragments: {} show less of a map than the other particles do",
}
"""What to say of each kind of images that the maps are not made from."""


def _left_out(entry: dict[str, Any]) -> str:
    count, sd = plural(int(entry["particles"]), "image"), entry.get("particles_sd")
    spread = "" if sd is None else f"; {entry['particles_expected']:.0f} ± {sd:.0f} are expected"
    said = _LEFT_OUT[entry["label"]].format(f"{count} ({entry['fraction']:.0%}{spread})")
    return f"{said}; they are class {entry['class']} and not in the maps."


def _points(record: Record, densities: dict[int, DirectionDensity]) -> list[str]:
    """What the numbers say about how far to trust the map, in plain sentences."""
    points = []
    for number, density in densities.items():
        empty = float((density.relative < 0.2).mean())
        name = "the particles" if len(record.classes) == 1 else f"class {number}"
        points.append(
            f"Views of {name}: {empty:.0%} of all directions are nearly empty (less than a fifth "
            f"of an even share); the fullest holds {density.relative.max():.1f} times such a share."
        )
    limit = record.shift_limit
    if limit and record.poses is not None and record.poses.shift is not None:
        beyond = float(np.mean(record.poses.shift >= 0.95 * limit))
        points.append(
            f"Shifts: {beyond:.0%} of the particles lie at the edge of the range or past."
        )
    run = record.starts.get(record.chosen_start, [])
    if run and run[-1].get("change") is not None:
        points.append(
            f"Convergence: the last iteration changed the map by {run[-1]['change']:.1%}."
        )
    points += [_left_out(entry) for entry in record.left_out]
    if len(record.result.get("starts") or []) < 2:
        points.append(
            "Starts: only one random start was made. Run again with several starts: a map that "
            "comes out alike each time is a map to believe."
        )
    points.append(
        "Resolution: the detail limit is what the search was allowed to use. How far the map can "
        "be trusted takes a refinement of two independent halves of the particles."
    )
    return points


_FILES = {
    "class*.mrc": "the density, for ChimeraX, Coot and refinement programs",
    "particles.star": "the particles with their orientations, shifts and classes (RELION)",
}


def abinit_page(record: Record) -> ReportPage:
    """What is particular to the page of an ab initio reconstruction."""
    densities = class_densities(record)
    sections = [
        maps_section(record),
        page.section(
            "How far to trust it",
            page.next_step(record.result.get("next_step")),
            page.bullets(_points(record, densities)),
            trust_tables(record.result),
        ),
        examples_section(record),
        particles_section(record, densities),
        search_section(record),
    ]
    return ReportPage(_outcome(record), _facts(record), sections, _FILES, lead=_lead(record))
