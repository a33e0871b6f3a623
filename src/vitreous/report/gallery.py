"""The report of a 2D classification: a gallery of averages to choose from."""

from __future__ import annotations

import base64
import io
import shlex
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.io.mrc import open_stack
from vitreous.report import charts, page
from vitreous.report.progress import duration
from vitreous.report.report_page import ReportPage

_READ = (
    "Each picture is scaled by itself: bright is dense. The frame tells the judgement: green is "
    "kept, yellow doubtful, red rejected; rest on a picture to read why. Click to choose classes; "
    "the line below is the command that keeps their particles (click on it to copy it)."
)
_READ_ALIKE = (
    "Averages that show nearly the same view, mirrored or not: correlation over rotation of more "
    "than 0.9. Many of a view mean more classes than the particles have views, or a preferred view."
)
_READ_SIZES = (
    "Share of the particles of the ten largest classes over the mini-batches. Steps are classes "
    "that were begun anew from halves of large ones."
)


def _png(image: Float[np.ndarray, "y x"]) -> str:
    from matplotlib.image import imsave

    low, high = np.percentile(image, [1, 99.8])
    buffer = io.BytesIO()
    imsave(buffer, image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9), origin="lower",
           format="png")  # fmt: skip
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _caption(entry: dict[str, Any]) -> str:
    limit = entry.get("resolution")
    reached = "no resolution" if limit is None else f"{limit:.0f} Å"
    return f"{entry['class']}: {entry['particles']:,} ({entry['fraction']:.1%}), {reached}"


def _tile(entry: dict[str, Any], picture: str) -> str:
    """One average to click on."""
    kept = " checked" if entry["decision"] != "reject" else ""
    said = f"Class {entry['class']}, {entry['decision']}: {entry['reason']}"
    return (
        f'<label class="average {entry["decision"]}" title="{escape(said)}">'
        f'<input type="checkbox" value="{entry["class"]}"{kept}>'
        f'<img src="{picture}" alt="{escape(said)}"><span>{escape(_caption(entry))}</span></label>'
    )


def _gallery(folder: Path, result: dict[str, Any], pictures: list[str]) -> str:
    entries = result["classes"]
    tiles = "".join(_tile(entry, pictures[entry["class"] - 1]) for entry in entries)
    start = escape(f"vitreous select {shlex.quote(str(folder))} --out chosen.star", quote=True)
    name = 'aria-label="Command that selects the chosen classes"'
    line = f'<textarea class="chosen" {name} readonly rows="2" data-start="{start}"></textarea>'
    guide = page.paragraph(_READ, "note")
    return page.section("Class averages", f'{guide}<div class="gallery">{tiles}</div>{line}')


def _alike(result: dict[str, Any], pictures: list[str]) -> str:
    """Near duplicates side by side, each group once."""
    seen, rows = set[int](), []
    for entry in result["classes"]:
        group = [entry["class"], *(n for n in entry["near_duplicates"] if n not in seen)]
        if entry["class"] in seen or len(group) < 2 or entry["decision"] == "reject":
            continue
        seen.update(group)
        images = "".join(
            f'<img src="{pictures[n - 1]}" alt="Class {n}" title="Class {n}">' for n in group
        )
        rows.append(f'<div class="alike">{images}</div>')
    if not rows:
        return ""
    return page.section("Nearly the same view", page.paragraph(_READ_ALIKE, "note"), *rows)


def _sizes(result: dict[str, Any]) -> str:
    sizes = np.array(result["class_sizes"], float)
    if len(sizes) < 2:
        return ""
    largest = np.argsort(-sizes[-1])[:10]
    run = [{"iteration": n + 1, "class_fractions": row[largest].tolist()} for n, row in
           enumerate(sizes)]  # fmt: skip
    picture = charts.class_priors(run, "Shares of the ten largest classes over the mini-batches")
    return page.section("Sizes", page.cards([page.card("Sizes of the largest classes",
                        page.figure(picture, _READ_SIZES))]))  # fmt: skip


def _table(result: dict[str, Any]) -> str:
    names = ("evidence", "strength", "detail", "misfit", "offset", "rim", "slope", "likeness")
    header = ("class", "particles", "FSC 0.5", "score", "decision", "is", "why", *names)
    rows = [
        (
            entry["class"],
            f"{entry['particles']:,}",
            entry["resolution"] and f"{entry['resolution']:.1f} Å",
            f"{entry['score']:.2f}",
            entry["decision"],
            entry["label"],
            entry["reason"],
            *(f"{entry[name]:.2f}" for name in names),
        )
        for entry in result["classes"]
    ]
    return page.folded("Measures of every class", page.table(header, rows))


def _facts(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    classes, particles = result["classes"], result["input"]["n_particles"]
    kept = [entry for entry in classes if entry["decision"] != "reject"]
    share = sum(entry["fraction"] for entry in kept)
    evidence = result["held_out_evidence"]
    return [
        ("Classes", str(len(classes)), f"{len(kept)} worth keeping or doubtful"),
        ("Particles", f"{particles:,}", f"{share:.0%} of them in these classes"),
        ("Starved", str(result["starved"]), "classes with less than a fifth of an even share"),
        (
            "Evidence",
            "—" if evidence is None else f"{evidence:.1f}",
            "nats by which averages explain a particle that they have not seen",
        ),
        ("Time", duration(result["timings"]["total_s"]), f"on {result['device']}"),
    ]


_FILES = {
    "class_averages.mrcs": "the averages, the best first, on the particles' grid",
    "particles.star": "the particles with class, in-plane angle, origin and posteriors",
    "run_*.star": "the same for RELION's Subset selection",
}


def gallery_page(folder: Path, result: dict[str, Any]) -> ReportPage:
    """What is particular to the page of a 2D classification."""
    stack = open_stack(folder / "class_averages.mrcs")
    pictures = [_png(image) for image in stack.read(np.arange(stack.shape[0]))]
    sections = [
        _gallery(folder, result, pictures),
        _alike(result, pictures),
        _sizes(result),
        page.section("Measures", _table(result)),
    ]
    title = f"{len(result['classes'])} class averages"
    return ReportPage(title, _facts(result), sections, _FILES)
