"""The report of a 3D classification: classes side by side, what tells them apart, who moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vitreous.report import curves, figures, page
from vitreous.report.chart import colour
from vitreous.report.examples import examples_section
from vitreous.report.flow import flow_chart
from vitreous.report.progress import duration
from vitreous.report.record import Record
from vitreous.report.report_page import ReportPage
from vitreous.report.sections import class_densities, maps_section, particles_section

_READ_FSC = (
    "How far the two halves of each class's particles agree. Halves share the references and the "
    "classes, so this is not the resolution of two independent refinements; between classes it "
    "may be compared."
)
_READ_FLOW = (
    "Each column is a pass over the particles; bands are particles that stayed in their class or "
    "went to another one. Bands that still cross at the right mean classes that have not settled."
)
_READ_DIFFERENCE = (
    "Density of the class less that of the largest one, in the common frame: bright is more, dark "
    "is less."
)


def _classes(count: int) -> str:
    return f"{count} class" + ("" if count == 1 else "es")


def _in_common_frame(record: Record) -> Record:
    """The record with maps that were laid on one another in place of those that were not."""
    entries = [
        {**entry, "map": entry.get("aligned") or entry.get("map")}
        for entry in record.result["classes"]
    ]
    return replace(record, result={**record.result, "classes": entries})


_DECOYS = {"ball": "a ball", "noise": "noise", "empty": "an empty map"}
"""Kinds of decoy in words."""


def _kind(entry: dict[str, Any], result: dict[str, Any]) -> str:
    if entry["class"] not in result["decoys"]:
        return str(entry["label"])
    kinds = {found["class"]: found["kind"] for found in result["recognised_decoys"]}
    kind = kinds.get(entry["class"])
    words = ["decoy", *([_DECOYS[kind]] if kind else [])]
    return ", ".join([*words, "kept as given"] if entry.get("fixed") else words)


def _table(record: Record) -> str:
    rows = []
    for entry in record.result["classes"]:
        expected = entry.get("particles_expected")
        counted = "" if expected is None else f"{expected:.0f} ± {entry['particles_sd']:.0f}"
        limit = entry.get("resolution_0143")
        rows.append(
            (
                str(entry["class"]),
                f"{entry['particles']:,}",
                f"{entry['fraction']:.1%}",
                counted,
                None if entry.get("confidence") is None else f"{entry['confidence']:.2f}",
                None if limit is None else f"{limit:.1f} Å",
                _kind(entry, record.result),
            )
        )
    header = (
        *("class", "particles", "share", "expected number", "mean posterior"),
        *("FSC 0.143", "is"),
    )
    note = (
        "Particles count where their likeliest class is. The expected number is the sum of their "
        "posteriors, with its standard deviation."
    )
    return page.table(header, rows) + page.paragraph(note, "note")


def _differences(record: Record) -> str:
    """Sections of each class less the largest."""
    shown = [e for e in record.classes if e["label"] in ("map", "duplicate")]
    if len(shown) < 2:
        return ""
    first = max(shown, key=lambda entry: entry["particles"])
    base, pixel_size = record.map(first)
    mask, items = record.result.get("mask_diameter"), []
    for entry in shown:
        if entry is first:
            continue
        number = int(entry["class"])
        title = f"Class {number} less class {first['class']}"
        alt = f"Three central sections of {title.lower()} and three projections of it"
        difference = record.map(entry)[0] - base
        picture = figures.sections_and_projections(difference, pixel_size, mask, alt, upright=True)
        items.append(page.card(title, page.figure(picture, _READ_DIFFERENCE), colour(number)))
    return page.section("What tells the classes apart", page.cards(items))


def _resolution(record: Record) -> str:
    lines = [entry for entry in record.classes if entry.get("fsc")]
    if not lines:
        return ""
    frequency = np.array(lines[0]["fsc"]["frequency"], float)
    named = [
        (f"class {entry['class']}", np.array(entry["fsc"]["corrected"], float)) for entry in lines
    ]
    alt = f"Fourier shell correlation of the halves of {_classes(len(lines))}"
    picture = curves.fsc_chart(frequency, named, alt)
    return page.card("Do the halves agree?", page.figure(picture, _READ_FSC), wide=True)


def _flow(record: Record) -> str:
    flow = [np.array(table) for table in record.result["flow"]]
    if not flow:
        return ""
    last = record.result["changed"][-1]
    alt = f"Particles between classes over {len(flow) + 1} passes, {last:.1%} in the last"
    return page.card("Who moved", page.figure(flow_chart(flow, alt), _READ_FLOW), wide=True)


def _facts(record: Record) -> list[tuple[str, str, str]]:
    result = record.result
    passes, changed = result["passes"], f"{result['changed'][-1]:.1%} changed class in the last"
    limit = f"settled is less than {result['settled_below']:.0%}"
    if not result["passes_at_limit"]:
        settled = "ended before the finest detail was compared"
    elif result["settled"]:
        settled = f"settled: {changed}"
    else:
        settled = f"not settled: {changed}, {limit}"
    return [
        ("Classes", str(len(record.classes)), f"{result['effective_classes']:.1f} effective"),
        ("Particles", f"{result['input']['n_particles']:,}", ""),
        ("Passes", str(passes), settled),
        ("Told apart by", f"{result['resolution_limit']:.1f} Å", "finest detail compared"),
        ("Symmetry", record.symmetry, "" if record.symmetry == "C1" else "imposed"),
        ("Time", duration(result["timings"]["total_s"]), f"on {result['device']}"),
    ]


_FILES = {
    "class*_aligned.mrc": "maps laid on the largest class, where references differed",
    "class*_half1.mrc, class*_half2.mrc": "half-maps, neither masked nor filtered",
    "class*_fsc.xml": "the halves' FSC",
    "class*.mrc": "the classes' maps, masked and filtered by what their halves share",
    "particles.star": "the particles with poses, classes and the posterior of every class",
}


def classes_page(record: Record) -> ReportPage:
    """What is particular to the page of a 3D classification."""
    record = _in_common_frame(record)
    sizes = ", ".join(f"{entry['fraction']:.0%}" for entry in record.result["classes"])
    sections = [
        page.section("Classes", _table(record)),
        maps_section(record),
        _differences(record),
        page.section(
            "How the classes came about", page.cards([_resolution(record), _flow(record)])
        ),
        examples_section(record),
        particles_section(record, class_densities(record)),
    ]
    title = f"{_classes(len(record.classes))}: {sizes}"
    return ReportPage(title, _facts(record), sections, _FILES)
