"""The report of a refinement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vitreous.report import charts, curves, page
from vitreous.report.examples import examples_section
from vitreous.report.progress import duration
from vitreous.report.record import Record
from vitreous.report.report_page import Facts, ReportPage, angstrom
from vitreous.report.search import noise_card
from vitreous.report.sections import class_densities, particles_section
from vitreous.report.trust import refinement_trust
from vitreous.report.validation import (
    POSTPROCESSED,
    fsc_card,
    guinier_card,
    halves_fact,
    map_card,
    resolution_facts,
)

_READ_PASSES = (
    "Resolution at which the halves' FSC fell to 0.143 in each pass. It should level off; the last "
    "pass uses all detail there is and lets the halves share nothing."
)
_READ_CURVES = "The halves' corrected FSC in every pass, from pale (first) to dark (last)."
_READ_ANGLES = (
    "How far a pass turned the particles: half of them by less than the lower line, nine tenths by "
    "less than the upper one. Both should fall to about the angular step and stay there."
)
_READ_SHIFTS = "How far a pass moved the particles in their images, likewise."
_READ_FIT = (
    "Mean log-likelihood of the images over that of noise alone. It rises and levels off; more "
    "detail compared raises it by steps."
)
_READ_CERTAINTY = (
    "Mean probability of the best pose. It falls when steps are halved, and rises with detail."
)

_FILES = {
    "map.mrc": "the map, filtered by the FSC",
    "half1.mrc, half2.mrc": "its halves, neither masked nor filtered",
    **POSTPROCESSED,
    "particles.star": "the particles with their poses (RELION)",
}


def _as_one_class(record: Record) -> Record:
    """The record with the whole map as its only class."""
    entry = {"class": 1, "map": "map.mrc", "particles": record.result["n_particles"]}
    poses = record.poses
    if poses is not None:
        poses = replace(poses, classes=np.ones(len(poses.rot), dtype=int))
    return replace(record, result={**record.result, "classes": [entry]}, poses=poses)


def _chart(
    record: Record, field: str, names: tuple[str, ...], label: str, *, log: bool = False
) -> str:
    """Chart of one number, or of several, over the passes; empty where none was logged."""
    lines = []
    for place, name in enumerate(names):
        found = [
            (int(event["iteration"]), value[place] if isinstance(value, list) else value)
            for event in record.passes
            for value in [event.get(field)]
            if value is not None and value != []
        ]
        lines.append((name, [x for x, _ in found], [float(y) for _, y in found]))
    if not lines[0][1]:
        return ""
    alt = f"{label} over {len(lines[0][1])} passes, at last {lines[0][2][-1]:.3g}"
    return charts.over_passes(lines, label, alt, log=log)


def _search_cards(record: Record) -> Iterator[str]:
    half, most = "half of the particles", "nine tenths"
    for title, picture, caption in (
        ("Turned by a pass", _chart(record, "angle_change", (half, most), "degrees", log=True),
         _READ_ANGLES),
        ("Moved by a pass", _chart(record, "shift_change", (half, most), "Å"), _READ_SHIFTS),
        ("Fit to the images", _chart(record, "log_likelihood", ("",), "log-likelihood"),
         _READ_FIT),
        ("Certainty of the poses", _chart(record, "posterior_of_best", ("",), "probability"),
         _READ_CERTAINTY),
    ):  # fmt: skip
        if picture:
            yield page.card(title, page.figure(picture, caption))


def _resolution_cards(record: Record) -> Iterator[str]:
    yield fsc_card(record.result)
    over = _chart(record, "resolution", ("",), "resolution (Å)")
    if over:
        yield page.card("Resolution over the passes", page.figure(over, _READ_PASSES))
    found = [event for event in record.passes if event.get("fsc")]
    if len(found) > 1:
        lines = [np.array(event["fsc"], float) for event in found]
        frequency = np.arange(max(map(len, lines))) / float(found[-1]["field"])
        picture = curves.fsc_over_passes(frequency, lines, f"FSC of {len(lines)} passes")
        yield page.card("FSC over the passes", page.figure(picture, _READ_CURVES))
    if record.result["guinier"] is not None:
        yield guinier_card(record.result["guinier"])


def _maps(folder: Path) -> str:
    return page.section(
        "The map, before and after sharpening",
        page.link_views(),
        map_card(folder / "sharpened_masked.mrc", "the sharpened map"),
        map_card(folder / "map.mrc", "the map as refined"),
    )


def _facts(record: Record) -> Facts:
    result = record.result
    symmetry = record.symmetry
    first, *others = resolution_facts(result)
    settled = "settled" if result["settled"] else "not settled"
    return [
        ("Verdict", str(result["verdict"]), str(result["sentence"])),
        first,
        ("Particles", f"{result['n_particles']:,}", ""),
        halves_fact(result),
        ("Symmetry", symmetry, "" if symmetry == "C1" else "imposed"),
        ("Passes", str(result["passes"]), settled),
        *others,
        ("Time", duration(result["timings"]["total_s"]), f"on {result['device']}"),
    ]


def refine_page(record: Record) -> ReportPage:
    """What is particular to the page of a refinement."""
    folder, result = record.folder, record.result
    whole = _as_one_class(record)
    sections = [
        page.section("How far to trust it", refinement_trust(result)),
        page.section("Resolution", page.cards(_resolution_cards(record))),
        _maps(folder),
        examples_section(whole),
        particles_section(whole, class_densities(whole)),
        page.section("The search", page.cards([*_search_cards(record), *noise_card(result)])),
    ]
    found = angstrom(result["resolution_0143"])
    title = f"{str(result['verdict']).capitalize()}: the halves agree to {found} (FSC 0.143)"
    return ReportPage(title, _facts(record), sections, _FILES)
