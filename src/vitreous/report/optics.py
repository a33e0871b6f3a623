"""The report of a CTF refinement: what changed, beside how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from vitreous.io.mrc import open_stack
from vitreous.report import optics_figures, page
from vitreous.report.report_page import Facts, ReportPage, Result
from vitreous.validate.optics.significance import standing

_MICROGRAPHS = 3
"""Shown: those with the most particles."""

_PARTS = {"beam_tilt": "beam tilt", "trefoil": "trefoil"}
_UNITS = {"beam_tilt": "mrad", "trefoil": "Å³"}

_READ_DEFOCUS = "All particles before and after."
_READ_PLACES = (
    "Change of each particle's defocus at its place in the micrograph. Neighbours that changed "
    "alike speak of a tilted or bent layer of ice; a mixture of colours without order, at the size "
    "of the uncertainty, of noise."
)
_READ_ASTIGMATISM = (
    "Each micrograph's astigmatism as a point, whose distance from the middle is its strength. "
    "Points that gather after the refinement speak for it, points that scatter against it."
)
_READ_PHASES = (
    "Phase that particles have beyond the map's, at every frequency and averaged over neighbouring "
    "pixels; what was fitted to it; and the difference, which should be without form."
)
_READ_STRETCH = "A circle as the microscope draws it, if the matrix is right."


def _changes(folder: Path) -> pl.DataFrame | None:
    path = folder / "changes.csv"
    return pl.read_csv(path) if path.is_file() else None


def _sure(record: Result) -> str:
    return "yes" if record["significant"] else "no"


def _pm(values: list[float], errors: list[float], unit: str) -> str:
    pairs = (f"{v:+.3g} ± {e:.2g}" for v, e in zip(values, errors, strict=True))
    return f"{', '.join(pairs)} {unit}"


def _rows(result: Result) -> Iterator[tuple[int, str, str, str]]:
    """Optics group, what was refined, its change, and whether it stands above noise."""
    for record in result.get("defocus", ()):
        change, error = (record[name]["median"] for name in ("change", "error"))
        found = f"{change:.0f} Å (median), uncertain by {error:.0f} Å"
        yield record["group"], "defocus", found, standing(record, change, error)
    for record in result.get("astigmatism", ()):
        change, error = (record[f"astigmatism_{n}"]["median"] for n in ("change", "error"))
        found = f"{change:.0f} Å (median), uncertain by {error:.0f} Å"
        yield record["group"], "astigmatism", found, standing(record, change, error)
    for record in result.get("odd_aberrations", ()):
        for name, said in _PARTS.items():
            if name in record:
                part = record[name]
                found = _pm(part["change"], part["errors"], _UNITS[name])
                yield record["group"], said, found, _sure(part)
    for record in result.get("magnification", ()):
        found = f"{record['anisotropy_percent']:.2f} % anisotropic"
        yield record["group"], "magnification", found, _sure(record)


def _places(changes: pl.DataFrame) -> str:
    """Micrographs with the most particles; empty where their places are not known."""
    if not {"micrograph", "x", "y"} <= set(changes.columns):
        return ""
    counts = changes.group_by("micrograph").len().sort(["len", "micrograph"], descending=True)
    panels = []
    for name in counts["micrograph"][:_MICROGRAPHS]:
        own = changes.filter(pl.col("micrograph") == name)
        change = (own["mean_after"] - own["mean_before"]).to_numpy()
        panels.append((Path(name).name, own["x"].to_numpy(), own["y"].to_numpy(), change))
    alt = f"Change of defocus over {page.plural(len(panels), 'micrograph')}"
    picture = optics_figures.micrographs(panels, "change of defocus (Å)", alt)
    return page.card("Where", page.figure(picture, _READ_PLACES), wide=True)


def _defocus(changes: pl.DataFrame) -> str:
    before, after = (changes[f"mean_{label}"].to_numpy() for label in ("before", "after"))
    values = optics_figures.before_after(
        before / 1e4, after / 1e4, "defocus (µm)", "Defocus before and after"
    )
    moves = optics_figures.change(after - before, "change of defocus (Å)", "Change of defocus")
    middle = float(np.median(np.abs(after - before)))
    caption = f"Half of all particles changed by more than {middle:.0f} Å."
    items = [
        page.card("Defocus", page.figure(values, _READ_DEFOCUS)),
        page.card("How much it changed", page.figure(moves, caption)),
        _places(changes),
    ]
    return page.section("Defocus", page.cards(items))


def _astigmatism(changes: pl.DataFrame) -> str:
    """Mean over each micrograph, as it is refined by micrograph."""
    parts = [f"{part}_{label}" for label in ("before", "after") for part in ("cosine", "sine")]
    means = changes.group_by("micrograph").agg(pl.col(parts).mean()).select(parts).to_numpy()
    picture = optics_figures.astigmatism_moves(
        means[:, :2], means[:, 2:], "Astigmatism of all micrographs before and after"
    )
    before, after = (2 * np.hypot(means[:, i], means[:, i + 1]) for i in (0, 2))
    spread = optics_figures.before_after(
        before, after, "astigmatism, U - V (Å)", "Astigmatism before and after", "micrographs"
    )
    return page.section(
        "Astigmatism",
        page.cards(
            [
                page.card("Of every micrograph", page.figure(picture, _READ_ASTIGMATISM)),
                page.card("How strong", page.figure(spread, "All micrographs.")),
            ]
        ),
    )


def _odd(folder: Path, records: list[Result]) -> str:
    items = []
    for record in records:
        said = " and ".join(name for part, name in _PARTS.items() if part in record)
        images = open_stack(folder / f"odd_phases_group{record['group']}.mrcs").read(np.arange(3))
        alt = f"Phases of optics group {record['group']}: measured, fitted and left over"
        picture = page.figure(optics_figures.phases(images, alt), _READ_PHASES)
        items.append(page.card(f"Optics group {record['group']}: {said}", picture, wide=True))
    return page.section("Beam tilt and trefoil", page.cards(items))


def _magnification(records: list[Result]) -> str:
    items = []
    for record in records:
        name = f"Optics group {record['group']}"
        said = (
            f"{record['anisotropy_percent']:.2f} % anisotropic, "
            f"mean {record['mean_magnification']:.4f}"
        )
        alt = f"Magnification of optics group {record['group']}: {said}"
        picture = page.figure(
            optics_figures.stretch(np.array(record["matrix"]), alt), _READ_STRETCH
        )
        items.append(page.card(name, page.paragraph(said) + picture))
    return page.section("Magnification", page.cards(items))


def ctf_page(folder: Path, result: Result) -> ReportPage:
    """What is particular to the page of a CTF refinement."""
    rows = sorted(_rows(result))
    changes = _changes(folder)
    header = ["optics group", "refined", "change", "above noise"]
    sections = [page.section("What changed", page.table(header, rows))]
    if "defocus" in result and changes is not None:
        sections.append(_defocus(changes))
    if "astigmatism" in result and changes is not None:
        sections.append(_astigmatism(changes))
    if "odd_aberrations" in result:
        sections.append(_odd(folder, result["odd_aberrations"]))
    if "magnification" in result:
        sections.append(_magnification(result["magnification"]))
    sure = [name for _, name, _, above in rows if above == "yes"]
    names = ", ".join(dict.fromkeys(sure))
    title = f"Above noise: {names}" if sure else "Nothing that was refined stands above noise"
    facts: Facts = [
        ("Particles", f"{result['input']['particles']:,}", ""),
        ("Optics groups", str(len({group for group, *_ in rows})), ""),
        ("Finest detail", f"{result['resolution']:.2f} Å", "compared with the map"),
    ]
    files = {"particles.star": "the particles with the refined values"}
    if changes is not None:
        files["changes.csv"] = "defocus and astigmatism of every particle before and after"
    if "odd_aberrations" in result:
        files["odd_phases_group1.mrcs and so on"] = "phases measured, fitted and left over"
    return ReportPage(title, facts, sections, files)
