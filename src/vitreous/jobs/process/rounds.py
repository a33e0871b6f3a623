"""The middle of the road: particles picked, cut out, sorted among classes, and the good ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vitreous.config.classify2d import Class2dConfig
from vitreous.config.extract import ExtractConfig
from vitreous.config.particles import SelectConfig
from vitreous.config.picking import PickConfig
from vitreous.errors import InputError
from vitreous.io.mrc import open_stack, stack_writer
from vitreous.jobs.class2d.class2d import run_class2d
from vitreous.jobs.class2d.outputs import AVERAGES
from vitreous.jobs.extract.extract import run_extract
from vitreous.jobs.particles.select import run_select
from vitreous.jobs.picking.diameter import find_diameter
from vitreous.jobs.picking.pick import run_pick
from vitreous.jobs.process import choices
from vitreous.jobs.process.ending import Unsolved
from vitreous.jobs.process.micrographs import Micrographs
from vitreous.jobs.process.steps import Steps
from vitreous.preprocessing.picking.diameter import LONGEST

TEMPLATES = "templates.mrcs"
"""File of the class averages that particles are picked by."""


Contrast = Literal["auto", "dark", "light"]


@dataclass(frozen=True)
class Sought:
    """What particles are picked by.

    Attributes
    ----------
    diameter : float
        Angstrom.
    room : float
        Box over it.
    contrast : str
        Of the particles; auto to find out.
    references : Path or None
        Templates; None for blobs.
    """

    diameter: float
    room: float
    contrast: Contrast = "auto"
    references: Path | None = None


@dataclass(frozen=True)
class Chosen:
    """Particles of classes that are worth keeping.

    Attributes
    ----------
    star : Path
    count : int
    picked : int
    contrast : str
    classes : list of dict
        Of the 2D classification.
    averages : Path
        Stack of their averages.
    suggested : float or None
        Diameter that the images suggest, angstrom.
    diameter : float
        That they were picked by.
    """

    star: Path
    count: int
    picked: int
    contrast: Contrast
    classes: list[dict[str, Any]]
    averages: Path
    suggested: float | None
    diameter: float


def first_sought(steps: Steps, micrographs: Micrographs) -> Sought:
    """What particles are picked by at first: blobs of a diameter that is given, or found.

    Raises
    ------
    Unsolved
        If it is not given and cannot be found.
    """
    given = steps.changes.get("pick", {}).get("diameter", steps.config.diameter)
    if given is not None:
        steps.decide(f"Particles are picked by a diameter of {given:g} A.", "It was given.")
        return Sought(given, choices.ROOM)
    found = steps.found("diameter", lambda: find_diameter(micrographs.star, steps.job.tell))
    if found is None:
        raise Unsolved(
            "No size of particles stands out on the micrographs: their diameter is unknown.",
            {"sentence": "Give the diameter with --diameter and go on.", "command": None},
        )
    longest = (
        f"; a particle's longest diameter is some {LONGEST:g} times that"
        if found["shape"] == "blob"
        else ", as particles that touch do"
    )
    steps.decide(
        f"Particles are picked by a diameter of {found['diameter']:g} A.",
        f"Of all sizes, {found['shape']}s of {found['size']:.0f} A cover most of the micrographs "
        f"({found['picks']:,} on {found['micrographs']}){longest}.",
    )
    return Sought(found["diameter"], choices.MORE_ROOM)


def _pick(steps: Steps, micrographs: Micrographs, sought: Sought) -> tuple[Path, dict[str, Any]]:
    out = steps.folder("pick")
    config = PickConfig(
        micrographs.star,
        out=out,
        diameter=sought.diameter,
        references=sought.references,
        contrast=sought.contrast,
    )

    def words(record: Mapping[str, Any]) -> str:
        return f"{record['picks']:,} picks, {record['contrast']}"

    return out / "picks.star", steps.run("pick", run_pick, config, words)


def _cut(steps: Steps, micrographs: Micrographs, picks: Path, sought: Sought, dark: bool) -> Path:
    box = choices.coarse_box(sought.diameter, sought.room, micrographs.pixel_size)
    asked = steps.changes.get("extract", {})
    if {"box", "scale"} & set(asked):
        sizes = ", ".join(f"{name} {asked[name]}" for name in ("box", "scale") if name in asked)
        steps.decide("Particles are cut out as --set asks.", f"It gives {sizes}.")
    else:
        steps.decide(
            f"Particles are cut out at {box.words}.",
            f"{sought.room:g} diameters leave room for what the CTF spreads; classes and first "
            "maps need no finer pixels.",
        )
    out = steps.folder("extract")
    config = ExtractConfig(
        micrographs.star,
        out=out,
        coordinates=picks,
        box=box.box,
        scale=box.scale_option,
        invert=dark,
    )
    return cut_out(steps, config)


def cut_out(steps: Steps, config: ExtractConfig) -> Path:
    """Cut out the particles that a configuration names; their table."""
    steps.run("extract", run_extract, config, lambda record: f"{record['particles']:,} particles")
    return config.out / "particles.star"


def _classify(steps: Steps, particles: Path, diameter: float) -> tuple[Path, dict[str, Any]]:
    out = steps.folder("class2d")
    config = Class2dConfig(particles, out=out, mask_diameter=round(choices.MASK * diameter, 1))

    def words(record: Mapping[str, Any]) -> str:
        decisions = [entry["decision"] for entry in record["classes"]]
        return f"{len(decisions)} classes, {decisions.count('keep')} to keep"

    return out, steps.run("class2d", run_class2d, config, words)


def _selected_words(record: Mapping[str, Any]) -> str:
    return f"{record['steps'][-1]['particles']:,} of {record['steps'][0]['particles']:,} particles"


def particles_of(steps: Steps, micrographs: Micrographs, sought: Sought) -> Chosen:
    """Pick, cut out and classify particles, and keep those of good classes.

    Raises
    ------
    InputError
        As the steps do, if nothing is picked or no class is worth keeping.
    """
    picks, picked = _pick(steps, micrographs, sought)
    star = _cut(steps, micrographs, picks, sought, picked["contrast"] == "dark")
    folder, classified = _classify(steps, star, sought.diameter)
    out = steps.folder("select") / "particles.star"
    selected = steps.run(
        "select",
        run_select,
        SelectConfig(folder / "particles.star", out=out, auto=True),
        _selected_words,
    )
    return Chosen(
        out,
        int(selected["steps"][-1]["particles"]),
        picked["picks"],
        picked["contrast"],
        classified["classes"],
        folder / AVERAGES,
        classified["preflight"]["estimates"]["diameter"],
        sought.diameter,
    )


def write_templates(path: Path, averages: Path, numbers: list[int]) -> None:
    """Write some class averages, by their numbers from 1, as a stack of their own."""
    stack = open_stack(averages)
    images = stack.read(np.array(numbers) - 1)
    with stack_writer(path, stack.shape[-1], len(numbers), stack.pixel_size) as made:
        made.append(images)


def _sought_again(steps: Steps, first: Chosen, sought: Sought) -> Sought | None:
    """Templates to pick by, and the diameter that the images suggest; None without templates."""
    numbers = choices.templates(first.classes)
    if not numbers:
        steps.decide("Particles are not picked again.", "No class average is fit as a template.")
        return None
    path = steps.config.out / TEMPLATES
    write_templates(path, first.averages, numbers)
    steps.decide(
        f"Particles are picked again by {len(numbers)} class averages.",
        "They are the best of those to keep that differ from each other.",
    )
    diameter = sought.diameter
    if sought.room == choices.MORE_ROOM:
        better = choices.believed_diameter(diameter, first.suggested)
        why = f"The images of the first picks suggest it; {diameter:g} A was a first guess."
        if better is None:
            steps.decide(f"The diameter stays {diameter:g} A.", "The images suggest no other.")
        else:
            steps.decide(f"The diameter is taken to be {better:g} A.", why)
            diameter = better
    return Sought(diameter, choices.ROOM, first.contrast, path)


def best_particles(steps: Steps, micrographs: Micrographs) -> Chosen:
    """Particles picked as blobs, then by templates made of them: whichever leaves more.

    Raises
    ------
    Unsolved
        If too few are left for a map.
    """
    sought = first_sought(steps, micrographs)
    try:
        best = particles_of(steps, micrographs, sought)
    except InputError as error:
        raise Unsolved(f"No particles were found: {error.line()}.") from error
    again = _sought_again(steps, best, sought)
    if again is not None:
        best = _better(steps, best, micrographs, again)
    if best.count < choices.LEAST:
        raise Unsolved(
            f"{best.count:,} particles of good classes are left, fewer than the {choices.LEAST} "
            "that a first map is tried with."
        )
    return best


def _better(steps: Steps, first: Chosen, micrographs: Micrographs, again: Sought) -> Chosen:
    try:
        second = particles_of(steps, micrographs, again)
    except InputError as error:
        steps.decide("The particles of the first picking are used.", error.line())
        return first
    counts = f"{second.count:,} are in good classes, {first.count:,} were of the blobs"
    if second.count < first.count:
        steps.decide("The particles of the first picking are used.", f"{counts}.")
        return first
    steps.decide("The particles picked by templates are used.", f"{counts}.")
    return second
