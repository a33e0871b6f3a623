"""The page of motion correction: how far movies moved, and how places in them did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.particles.relion.motion import read_tracks
from vitreous.report import charts, page
from vitreous.report.chart import COLOURS, GREY, Chart, Line, equal_axes
from vitreous.report.page import plural
from vitreous.report.report_page import ReportPage, Result

_SHOWN = 6
"""Movies whose tracks are shown: those that moved most, and those round the median."""

_ENLARGED = 0.08
"""Length of the longest local track over the micrograph's side."""

_READ_TRACKS = (
    "Above: the path of the whole movie in angstrom, from the dot on. Below: local paths at some "
    "places of the micrograph, on top of it and enlarged as said. Smooth paths that differ little "
    "between neighbours are as they should be."
)


def track_figure(
    curve: Float[np.ndarray, "t 2"],
    places: Float[np.ndarray, "p 2"],
    local: Float[np.ndarray, "p t 2"],
    alt: str,
) -> str:
    """Path of the whole movie beside local paths; all lengths in angstrom."""
    whole = _paths([curve], ("x (Å)", "y (Å)"), COLOURS[0], alt)
    if not len(places):
        return whole
    longest = max(float(np.abs(local).max()), 1e-6)
    factor = _ENLARGED * float(places.max()) / longest
    names = (f"x (Å), paths enlarged {factor:.0f} times", "y (Å)")
    paths = list(places[:, None] + factor * local)
    return whole + _paths(paths, names, COLOURS[1], f"{alt}, at {len(places)} places")


def _paths(
    paths: Sequence[Float[np.ndarray, "t 2"]], names: tuple[str, str], tint: str, alt: str
) -> str:
    """Paths, each from a dot on, on axes of one scale."""
    starts = np.array([path[0] for path in paths])
    lines = [Line.through(path, colour=tint, width=1.2) for path in paths]
    lines.append(Line.through(starts, colour=GREY, width=0, dots=True))
    return Chart(*equal_axes(names, np.concatenate(paths)), alt, lines).svg()


def _chosen(movies: dict[str, dict[str, Any]]) -> list[str]:
    """Names of the movies that moved most and of those in the middle."""
    ranked = sorted(movies, key=lambda name: -float(movies[name]["motion"]["total"]))
    middle = max(len(ranked) // 2 - _SHOWN // 2, 0)
    return list(dict.fromkeys([*ranked[:_SHOWN], *ranked[middle : middle + _SHOWN]]))


def _track_card(folder: Path, name: str, record: dict[str, Any]) -> str:
    moved = f"{record['motion']['total']:.1f} Å"
    try:
        curve, places, local = read_tracks(folder / record["metadata"])
    except (InputError, KeyError):
        return page.card(Path(name).name, page.paragraph("Its motion cannot be read.", "note"))
    pixel = float(record["pixel_size_movie"])
    alt = f"Motion of {Path(name).name}, {moved} in all"
    picture = track_figure(curve * pixel, places * pixel, local * pixel, alt)
    return page.card(Path(name).name, picture, count=f"{moved} in all")


def _histogram(values: Float[np.ndarray, " n"], label: str, alt: str) -> str:
    return charts.histogram(
        values, np.ones(len(values), int), [1], label, alt, counted="micrographs"
    )


def motion_page(folder: Path, result: Result) -> ReportPage:
    """What is particular to the page."""
    movies = result["movies"]
    totals = np.array([record["motion"]["total"] for record in movies.values()])
    early = np.array([record["motion"]["early"] for record in movies.values()])
    local = np.array([record["local_amplitude"] for record in movies.values()])
    median = result["motion"]["median_A"]
    said = f"median {median:.1f} Å, at most {result['motion']['largest_A']:.1f} Å"
    cards = [
        page.card("Total motion", _histogram(totals, "motion (Å)", f"Motion in all: {said}")),
        page.card(
            "Early motion", _histogram(early, "motion (Å)", "Motion within the first 4 e/Å²")
        ),
    ]
    if local.any():
        picture = _histogram(local, "local motion (Å)", "Typical local motion of each movie")
        cards.append(page.card("Local motion", picture))
    shown = _chosen(movies)
    tracks = [_track_card(folder, name, movies[name]) for name in shown]
    failed = list(result["failed"].values())
    sections = [
        page.section("How far movies moved", page.cards(cards)),
        page.section("Paths", page.paragraph(_READ_TRACKS), page.cards(tracks)),
    ]
    if failed:
        sections.append(page.section("Movies left out", page.bullets(failed)))
    facts = [
        (
            "Micrographs",
            f"{result['micrographs']:,}",
            f"of {plural(len(movies) + len(failed), 'movie')}",
        ),
        ("Motion", f"{median:.1f} Å", "median of the paths' lengths"),
        *[
            (
                "Gain",
                str(gain["orientation"]),
                "found by its fixed pattern" if gain["found"] else "as given",
            )
            for gain in result["gain"]
        ],
    ]
    files = {
        "corrected_micrographs.star": "the micrographs, for RELION too",
        "micrographs": "of each movie the micrograph (weighted by dose if that was known), its "
        "plain sum (_noDW) and its motion (.star), as RELION's polishing reads it",
        "micrographs.jsonl": "what was done, by which --resume goes on",
    }
    title = f"{plural(result['micrographs'], 'movie')} corrected; motion {said}"
    return ReportPage(title, facts, sections, files)
