"""The last part of the road: a first map, refined, and refined again where pixels limit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitreous.config.abinit import AbinitConfig
from vitreous.config.extract import ExtractConfig
from vitreous.config.particles import SelectConfig
from vitreous.config.refine import RefineConfig
from vitreous.io.mrc import read_header
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.particles.select import run_select
from vitreous.jobs.process import choices
from vitreous.jobs.process.ending import Unsolved
from vitreous.jobs.process.micrographs import Micrographs
from vitreous.jobs.process.rounds import Chosen, cut_out
from vitreous.jobs.process.steps import Steps
from vitreous.jobs.refine.refine import run_refine
from vitreous.runs.options import AUTO


@dataclass(frozen=True)
class FirstMap:
    """A map made from particles in unknown orientations.

    Attributes
    ----------
    map : Path
    particles : Path
    symmetry : str
    result : dict
    """

    map: Path
    particles: Path
    symmetry: str
    result: dict[str, Any]


@dataclass(frozen=True)
class Refined:
    """A refined map.

    Attributes
    ----------
    folder : Path
    result : dict
    """

    folder: Path
    result: dict[str, Any]


def first_map(steps: Steps, particles: Chosen) -> FirstMap:
    """Search for a first map.

    Raises
    ------
    Unsolved
        If the search fails.
    """
    found = _search(steps, particles.star)
    out = Path(found["folder"])
    if found["verdict"] == "failed":
        raise Unsolved(f"No first map was found: {found['sentence']}", found["next_step"])
    symmetry = "C1" if found["symmetry"] == AUTO else str(found["symmetry"])
    if steps.config.symmetry == AUTO:
        why = found["symmetry_found"] or "No symmetry was found in the first map."
        steps.decide(f"The map is refined in {symmetry}.", why)
    if found["verdict"] == "ambiguous":
        steps.decide(
            "The first map is refined although it is in doubt.",
            f"How far halves of the particles agree tells more. {found['sentence']}",
        )
    star = _of_the_map(steps, out, found)
    return FirstMap(out / "class001.mrc", star, symmetry, found)


def _search(steps: Steps, star: Path) -> dict[str, Any]:
    """The search's record with its folder; where it is in doubt, of the one that it names next.

    That one counts if its verdict is the better, and is not made of options that the user has set.
    """
    found = _searched(steps, star, {})
    changes = (found["next_step"] or {}).get("changes")
    if not changes or set(changes) & set(steps.changes.get("abinit", {})):
        return found
    steps.decide("The next step that the search names is taken.", found["next_step"]["sentence"])
    again = _searched(steps, star, changes)
    if choices.worse(again["verdict"], found["verdict"]) == again["verdict"]:
        steps.decide("The first search's map is kept.", again["sentence"])
        return {**found, "next_step": again["next_step"]}  # its own was taken
    return again


def _searched(steps: Steps, star: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    out = steps.folder("abinit")
    config = replace(AbinitConfig(star, out=out, symmetry=steps.config.symmetry), **changes)
    found = steps.run("abinit", run_abinit, config, lambda record: str(record["verdict"]))
    return {**found, "folder": str(out)}


def _of_the_map(steps: Steps, folder: Path, found: Mapping[str, Any]) -> Path:
    """The particles that the first map shows, without images of noise."""
    star = folder / "particles.star"
    others = sum(int(entry["particles"]) for entry in found["classes"][1:])
    if not others:
        return star
    steps.decide(
        f"{others:,} particles are left out.", "The first map's search calls their images noise."
    )
    out = steps.folder("select") / "particles.star"
    steps.run(
        "select",
        run_select,
        SelectConfig(star, out=out, classes="1"),
        lambda record: f"{record['steps'][-1]['particles']:,} particles",
    )
    return out


def _refined_words(record: Mapping[str, Any]) -> str:
    resolution = record["resolution_0143"]
    reached = "no resolution" if resolution is None else f"{resolution:.2f} A"
    return f"{record['verdict']}, {reached} (FSC 0.143)"


def _refine(steps: Steps, star: Path, reference: Path, symmetry: str, mask: float) -> Refined:
    out = steps.folder("refine")
    config = RefineConfig(star, reference=reference, out=out, symmetry=symmetry, mask_diameter=mask)
    return Refined(out, steps.run("refine", run_refine, config, _refined_words))


def refined_map(
    steps: Steps, micrographs: Micrographs, first: FirstMap, diameter: float
) -> Refined:
    """Refine the first map, and again with finer pixels as long as these hold it back."""
    mask = round(choices.MASK * diameter, 1)
    refined = _refine(steps, first.particles, first.map, first.symmetry, mask)
    while True:
        header = read_header(refined.folder / "map.mrc")
        held = header.pixel_size[0]
        resolution = refined.result["resolution_0143"]
        width = header.shape[0] * held
        box = choices.finer_box(width, held, resolution, micrographs.pixel_size)
        if box is None or refined.result["verdict"] == "failed":
            return refined
        steps.decide(
            f"Particles are cut out again at {box.words}.",
            f"The map reached {resolution:.1f} A, close to the {2 * held:.1f} A that its pixels "
            "can hold.",
        )
        star = _cut_again(steps, micrographs, refined.folder / "particles.star", box)
        refined = _refine(steps, star, refined.folder / "map.mrc", first.symmetry, mask)


def _cut_again(steps: Steps, micrographs: Micrographs, particles: Path, box: choices.Box) -> Path:
    config = ExtractConfig(
        micrographs.star,
        out=steps.folder("extract"),
        particles=particles,
        box=box.box,
        scale=box.scale_option,
        invert=_inverted(steps),
        recentre=True,
    )
    return cut_out(steps, config)


def _inverted(steps: Steps) -> bool:
    """Whether the particles were inverted when they were cut out before."""
    return next(bool(s.options["invert"]) for s in reversed(steps.done) if s.job == "extract")
