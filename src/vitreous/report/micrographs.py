"""The reports of the jobs that lead from micrographs to particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from scipy.ndimage import gaussian_filter

from vitreous.io.mrc import open_stack, read_micrograph
from vitreous.io.star import read_star
from vitreous.particles.files import read_particles
from vitreous.particles.relion.names import X, Y
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


_FITS_SHOWN = 6
"""Fits with pictures: of every verdict, the worst first."""

_READ_SPECTRUM = (
    "The micrograph's spectrum on the left half, the fit on the right: rings should meet. Below, "
    "both along lines of equal phase with their correlation; the dashed line is where rings cease "
    "to be seen."
)

_WORDS = ("reject", "doubtful", "keep")


def _examples(records: list[Result]) -> list[Result]:
    """Some micrographs of each verdict."""
    chosen = []
    for word in _WORDS:
        own = [record for record in records if record["verdict"] == word]
        own.sort(key=lambda record: -record["resolution"])
        chosen += own[: _FITS_SHOWN // len(_WORDS)]
    return chosen


def _fit_card(folder: Path, record: Result) -> str:
    stack = open_stack(folder / record["picture"])
    name = Path(record["name"]).name
    picture = micrograph_figures.spectrum_against_fit(
        stack.read(np.zeros(1, dtype=int))[0], f"Spectrum of {name} beside its fit"
    )
    table = pl.read_csv(folder / record["curves"])
    curves = {column: table[column].to_numpy() for column in table.columns}
    chart = micrograph_figures.fit_curves(
        curves["frequency_per_angstrom"], curves, record["resolution"], f"Fit of {name}"
    )
    said = "; ".join(record["reasons"]) or "rings as they should be"
    return page.card(name, page.figure(picture + chart, f"{record['verdict']}: {said}."))


def _ctf_row(record: Result) -> list[object]:
    return [
        record["name"],
        f"{(record['defocus_u'] + record['defocus_v']) / 2:.0f} ± {record['defocus_error']:.0f}",
        f"{record['defocus_u'] - record['defocus_v']:.0f} ± {record['astigmatism_error']:.0f}",
        f"{record['phase_shift']:.1f}",
        f"{record['resolution']:.1f}",
        f"{record['tilt']:.0f}" if record["tilt"] else "",
        record["verdict"],
        "; ".join(record["reasons"]),
    ]


def ctf_estimation_page(folder: Path, result: Result) -> ReportPage:
    """What is particular to the page of a CTF estimation."""
    records = result["micrographs"]
    mean = np.array([(record["defocus_u"] + record["defocus_v"]) / 2 for record in records])
    resolution = np.array([record["resolution"] for record in records])
    error = np.median([record["defocus_error"] for record in records])
    counts, total = result["verdicts"], len(records)
    facts: Facts = [
        ("Keep", f"{counts['keep']:,}", f"of {total:,} micrographs"),
        ("Doubtful", f"{counts['doubtful']:,}", "extracted unless vitreous select drops them"),
        ("Reject", f"{counts['reject']:,}", "left out by pick and extract"),
        ("Defocus", f"{np.median(mean):.0f} Å", f"median; {mean.min():.0f} to {mean.max():.0f}"),
        ("Uncertain by", f"{error:.0f} Å", "median standard error of the mean defocus"),
        ("Resolution", f"{np.median(resolution):.1f} Å", "median, to which rings are seen"),
    ]
    header = ["micrograph", "defocus (Å)", "astigmatism (Å)", "phase shift (°)", "rings to (Å)",
              "tilt (°)", "verdict", "why"]  # fmt: skip
    cards = page.cards([_fit_card(folder, record) for record in _examples(records)])
    sections = [
        page.section("Some fits", page.paragraph(_READ_SPECTRUM), cards),
        page.section("Micrographs", page.table(header, [_ctf_row(record) for record in records])),
    ]
    files = {
        "micrographs_ctf.star": "the micrographs with their CTFs, for pick and extract, and RELION",
        "spectra": "the picture of each spectrum beside its fit, and the curves",
        "micrographs.jsonl": "what was done, by which --resume goes on",
    }
    title = f"CTFs of {total:,} micrographs: {counts['keep']:,} to keep"
    return ReportPage(title, facts, sections, files)


_FOUND = {
    "blob": "as blobs",
    "ball": "as balls, which are many more than blobs",
    "reference": "by references",
}

_PREVIEWS = 3
"""Micrographs shown with their picks: of few, of a usual number and of many."""

_SHOWN_SIDE = 500
"""Pixels of a preview, about."""

_READ_PICKS = (
    "Circles have the diameter that was given. Particles without a circle speak for a higher --fdr "
    "or another --diameter; circles on edges and contaminants against them."
)


def _preview(record: Result, diameter: float, folder: Path) -> str:
    image = read_micrograph(record["micrograph"])
    pixel = record["pixel_size"]
    step = max(1, min(image.shape) // _SHOWN_SIDE)
    smooth = gaussian_filter(image, max(step / 2, diameter / pixel / 20))[::step, ::step]
    block = next(iter(read_star(folder / record["coordinates"]).values()))
    xy = block.frame.select(X, Y).cast(pl.Float64).to_numpy() / step
    name = Path(record["name"]).name
    picture = micrograph_figures.micrograph_with_picks(
        smooth, xy, diameter / pixel / 2 / step, f"{name} with its {record['picks']} picks"
    )
    return page.card(name, page.figure(picture, f"{record['picks']} picks"))


def _previewed(records: list[Result]) -> list[Result]:
    there = [r for r in records if r["picks"] and Path(r["micrograph"]).is_file()]
    there.sort(key=lambda record: record["picks"])
    places = np.unique(np.linspace(0, len(there) - 1, _PREVIEWS).round().astype(int))
    return [there[place] for place in places] if there else []


def pick_page(folder: Path, result: Result) -> ReportPage:
    """What is particular to the page of picking."""
    records, options = result["micrographs"], result["options"]
    counts = np.array([record["picks"] for record in records])
    searched = float(np.mean([record["searched"] for record in records]))
    facts: Facts = [
        ("Picks", f"{result['picks']:,}", f"on {len(records):,} micrographs"),
        ("False", f"{options['fdr']:.0%}", "at most, as decoys of the other contrast tell"),
        ("Particles", result["contrast"], f"on the micrographs; found {_FOUND[result['shape']]}"),
        ("A micrograph", f"{np.median(counts):.0f}", f"median; {counts.min()} to {counts.max()}"),
        ("Searched", f"{searched:.0%}", "of the area: the rest is border, edges, contaminants"),
    ]
    header = ["micrograph", "picks", "area searched"]
    rows = [[r["name"], r["picks"], f"{r['searched']:.0%}"] for r in records]
    previews = [_preview(r, options["diameter"], folder) for r in _previewed(records)]
    sections = [
        page.section("Where they are", page.paragraph(_READ_PICKS), page.cards(previews)),
        page.section("Micrographs", page.folded("All of them", page.table(header, rows))),
    ]
    files = {
        "picks.star": "all picks with their micrographs, for vitreous extract",
        "autopick.star, picks": "the same as RELION has them, a file for each micrograph",
        "micrographs.jsonl": "what was found, by which --resume goes on",
    }
    return ReportPage(f"{result['picks']:,} particles were picked", facts, sections, files)


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
