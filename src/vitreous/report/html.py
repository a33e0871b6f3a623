"""The report of a job: one page that needs no network and explains its own pictures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.config.abinit import AbinitConfig
from vitreous.io.atomic import write_text
from vitreous.report import page
from vitreous.report.directions import DirectionDensity
from vitreous.report.page import plural
from vitreous.report.progress import duration
from vitreous.report.record import Record, read_record
from vitreous.report.search import search_section
from vitreous.report.sections import (
    class_densities,
    maps_section,
    particles_section,
)
from vitreous.report.trust import trust_tables
from vitreous.report.viewer import script
from vitreous.runs.command import shell_command

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


def command_line(record: Record) -> str:
    """The command that was recorded, or else one of the options that differ from the defaults."""
    given = record.result.get("command")
    if isinstance(given, list) and given:
        return shlex.join([Path(str(given[0])).name, *map(str, given[1:])])
    return shell_command(str(record.result.get("job", "abinit")), record.options, AbinitConfig)


def _repeat(record: Record) -> str:
    result = record.result
    maps = ", ".join(str(entry.get("map")) for entry in record.classes)
    files = page.pairs_table(
        {
            maps: "the density, for ChimeraX, Coot and refinement programs",
            "particles.star": "the particles with their orientations, shifts and classes (RELION)",
            "result.json, log.jsonl": "every number in this report, for scripts",
        }
    )
    cite = (
        f"To cite it: vitreous {result.get('version', '')}, job {result.get('job', 'abinit')}, "
        f"seed {result.get('seed', 'unknown')}. The same command with the same seed on the same "
        "machine gives the same maps."
    )
    return page.section(
        "Files, and how to repeat this",
        files,
        f"<pre>{page.shown(command_line(record))}</pre>",
        page.paragraph(cite, "note"),
    )


def _details(record: Record) -> str:
    result, given = record.result, dict(record.result.get("input") or {})
    groups = given.pop("optics_groups", None) or []
    names = list(dict.fromkeys(name for group in groups for name in group))
    optics = page.table(names, ([group.get(name) for name in names] for group in groups))
    timings = {
        name.removesuffix("_s").replace("_", " "): duration(seconds)
        for name, seconds in (result.get("timings") or {}).items()
        if seconds is not None
    }
    versions = {"vitreous": result.get("version"), **(result.get("versions") or {})}
    return page.section(
        "Everything else",
        page.folded("All settings", page.pairs_table(record.options)),
        page.folded("Input", page.pairs_table(given) + (optics if groups else "")),
        page.folded(
            "Timings and versions",
            page.pairs_table(timings)
            + page.pairs_table({**versions, "device": result.get("device")}),
        ),
    )


def build_page(record: Record) -> str:
    """HTML of the report."""
    densities = class_densities(record)
    outcome = _outcome(record)
    kind = f"vitreous {record.result.get('version', '')} · ab initio reconstruction"
    header = (
        page.paragraph(kind, "kind")
        + f"<h1>{page.shown(outcome)}</h1>"
        + page.paragraph(_lead(record), "lead")
        + page.warnings_box([str(w) for w in record.result.get("warnings") or []])
        + page.tiles(_facts(record))
    )
    main = (
        maps_section(record),
        page.section(
            "How far to trust it",
            page.next_step(record.result.get("next_step")),
            page.bullets(_points(record, densities)),
            trust_tables(record.result),
        ),
        particles_section(record, densities),
        search_section(record),
        _repeat(record),
        _details(record),
    )
    footer = page.paragraph("Made by vitreous. This page is complete in itself: keep or send it.")
    return page.document(outcome, header, "\n".join(main), footer, script())


def write_report(job_dir: Path) -> Path:
    """Write ``report.html`` into a finished job's folder.

    Parameters
    ----------
    job_dir : Path
        Holds result.json, and as far as there are any log.jsonl, particles.star and the maps.

    Returns
    -------
    Path of the page.

    Raises
    ------
    InputError
        If ``result.json`` is missing or broken.
    """
    path = Path(job_dir) / "report.html"
    write_text(path, build_page(read_record(Path(job_dir))))
    return path
