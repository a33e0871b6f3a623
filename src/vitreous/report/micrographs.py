"""The reports of the jobs that lead from micrographs to particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.report import micrograph_figures, page
from vitreous.report.report_page import Facts, ReportPage, Result

_SHOWN = 40
"""Particles in a montage."""

_READ_MONTAGE = (
    "Some of the particles, evenly from the table. They should lie in the middle, white on a "
    "darker background; neighbours in the box are no harm, edges and contaminants are."
)


def _montage(folder: Path) -> str:
    table = read_particles(folder / "particles.star")
    rows = np.unique(np.linspace(0, len(table) - 1, _SHOWN).round().astype(np.int64))
    images = open_images(table.take(rows)).read_unchecked(np.arange(len(rows)))
    alt = f"{len(rows)} of the particles that were cut out"
    picture = micrograph_figures.montage(images, alt)
    return page.card("Particles", page.figure(picture, _READ_MONTAGE), wide=True)


def extract_page(folder: Path, result: Result) -> ReportPage:
    """What is particular to the page of an extraction."""
    records = result["micrographs"]
    counts = np.array([record["particles"] for record in records])
    sizes = ", ".join(f"{size:.4g}" for size in dict.fromkeys(result["pixel_sizes"]))
    facts: Facts = [
        ("Particles", f"{result['particles']:,}", f"from {len(records):,} micrographs"),
        ("A micrograph", f"{np.median(counts):.0f}", f"median; {counts.min()} to {counts.max()}"),
        ("Box", f"{result['box']} pixels", f"of {sizes} Å"),
    ]
    header = ["micrograph", "particles", "beyond its border"]
    rows = [[record["name"], record["particles"], record["outside"]] for record in records]
    sections = [
        page.section("What was cut out", _montage(folder)),
        page.section("Micrographs", page.folded("All of them", page.table(header, rows))),
    ]
    files = {
        "particles.star": "the particles, for vitreous check, class2d and abinit, and for RELION",
        "images": "their images, a stack for each micrograph",
        "micrographs.jsonl": "what was done, by which --resume goes on",
    }
    return ReportPage(f"{result['particles']:,} particles were cut out", facts, sections, files)
