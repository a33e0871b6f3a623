"""The page of a whole road: the verdict, every decision with its reason, every step's own page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitreous.report import page
from vitreous.report.progress import duration
from vitreous.report.report_page import Facts, ReportPage, angstrom
from vitreous.report.road import decisions_section, steps_section
from vitreous.report.validation import map_card


def _facts(result: dict[str, Any]) -> Facts:
    facts: Facts = [("Verdict", str(result["verdict"]), "")]
    if "map" in result:
        facts += [
            ("FSC 0.143", angstrom(result["resolution_0143"]), "between halves of the particles"),
            ("FSC 0.5", angstrom(result["resolution_05"]), "likewise"),
            ("Particles", f"{result['n_particles']:,}", "in the map"),
            ("Symmetry", str(result["symmetry"]), ""),
        ]
    facts.append(("Steps", str(len(result["steps"])), "each in a folder of its own"))
    facts.append(("Time", duration(result["timings"]["total_s"]), "since it was begun or resumed"))
    return facts


def process_page(folder: Path, result: dict[str, Any]) -> ReportPage:
    """What is particular to the page."""
    sections = []
    if result["next_step"] is not None:
        sections.append(page.section("What to do next", page.next_step(result["next_step"])))
    if "map" in result:
        shown = map_card(folder / result["sharpened"], "the sharpened map")
        sections.append(page.section("The map", shown))
    sections += [decisions_section(result["decisions"]), steps_section(result["steps"])]
    files = {"templates.mrcs": "class averages that particles were picked by"}
    if "map" in result:
        files |= {result["map"]: "the map", result["sharpened"]: "the same, sharpened"}
    files["steps.json"] = "the steps that are done, which --resume goes on from"
    title = f"{str(result['verdict']).capitalize()}: {result['sentence']}"
    return ReportPage(title, _facts(result), sections, files)
