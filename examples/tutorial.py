"""From particles to a map: check, ab initio, symmetry, classes, selection, refinement, sharpening.

    python examples/tutorial.py                          # the built-in molecule, simulated
    python examples/tutorial.py particles.star --out apoferritin --symmetry O --resolution 10

Every step is the function behind the command of its name, and leaves what the command leaves; the
comments give the command.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitreous import api

PIXEL_SIZE, BOX = 6.0, 40
"""Of the simulated particles: angstrom, and pixels."""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line; without particles, options that suit the simulated ones."""
    parser = argparse.ArgumentParser(description="From particles to a map, step by step.")
    parser.add_argument("particles", type=Path, nargs="?", help="STAR file; else simulated")
    parser.add_argument("--out", type=Path, default=Path("tutorial"), help="folder for the jobs")
    parser.add_argument("--symmetry", help="point group; auto looks for it")
    parser.add_argument("--resolution", type=float, help="of the first map, angstrom")
    parser.add_argument("--starts", type=int, help="random starts of the first map")
    found = parser.parse_args(given)
    small = found.particles is None
    found.symmetry = found.symmetry or ("C1" if small else "auto")
    found.resolution = found.resolution or (16.0 if small else 15.0)
    found.starts = found.starts or (2 if small else "auto")
    return found


def result(job: Path) -> dict[str, Any]:
    """What a job says of itself."""
    return json.loads((job / "result.json").read_text())


def simulate(out: Path) -> Path:
    """vitreous simulate, of the built-in molecule."""
    config = api.SimulateConfig(Path("built-in"), out=out / "particles", n=300, snr=1.0)
    return api.simulate(api.built_in_phantom(BOX, PIXEL_SIZE), PIXEL_SIZE, config)


def check(star: Path) -> None:
    """vitreous check PARTICLES."""
    found = api.run_check(api.CheckConfig(star))
    print("Check:", *(f"  {f.level}: {f.what}" for f in found.findings), sep="\n")
    print(f"  diameter: {found.estimates.diameter or float('nan'):.0f} A")


def first_map(star: Path, options: argparse.Namespace) -> Path:
    """vitreous abinit PARTICLES --out OUT --symmetry GROUP."""
    job = api.run_abinit(
        api.AbinitConfig(
            star,
            out=options.out / "abinit",
            symmetry=options.symmetry,
            final_resolution=options.resolution,
            starts=options.starts,
        )
    )
    found = result(job)
    print(f"First map: {found['verdict']}, {found['symmetry']}. {found['sentence']}")
    return job


def symmetry(first: Path, resolution: float) -> None:
    """vitreous symmetry MAP."""
    found = api.run_symmetry(
        api.SymmetryConfig(first / "class001.mrc", resolution_limit=resolution)
    ).finding
    best = max(found.scores, key=lambda score: score.relative)
    print(
        f"Symmetry of the first map: {found.group}; the nearest to hold is {best.group}, "
        f"score {best.score:.2f} of {best.allowed:.2f}"
    )


def classes(first: Path, options: argparse.Namespace) -> Path:
    """vitreous classify3d PARTICLES --reference MAP --classes 2 --no-align --out OUT."""
    found = result(first)
    job = api.run_classify3d(
        api.Classify3dConfig(
            first / "particles.star",
            reference=(first / "class001.mrc",),
            out=options.out / "classes",
            classes=2,
            symmetry=found["symmetry"],
            mask_diameter=found["mask_diameter"],
            resolution_limit=options.resolution,
            align=False,
        )
    )
    for one in result(job)["classes"]:
        print(f"Class {one['class']}: {one['particles']} particles, {one['label']}")
    return job


def select(sorted_: Path, out: Path) -> Path:
    """vitreous select PARTICLES --auto --out OUT: junk classes and noise left behind."""
    star = out / "selected.star"
    config = api.SelectConfig(sorted_ / "particles.star", out=star, auto=True)
    for step in api.run_select(config).steps:
        print(f"Selection: {step.what}, {step.particles} particles")
    return star


def refine(star: Path, first: Path, out: Path) -> Path:
    """vitreous refine PARTICLES --reference MAP --out OUT --symmetry GROUP --local-search 3.75.

    From the poses of the first map: a map like apoferritin's has no hand at the low pass.
    """
    job = api.run_refine(
        api.RefineConfig(
            star,
            reference=first / "class001.mrc",
            out=out / "refine",
            symmetry=result(first)["symmetry"],
            mask_diameter=result(first)["mask_diameter"],
            lowpass=30.0,
            local_search=3.75,
        )
    )
    found = result(job)
    print(f"Refinement: {found['resolution_0143']:.1f} A in {found['passes']} passes")
    return job


def postprocess(refined: Path, out: Path) -> Path:
    """vitreous postprocess HALF1 HALF2 --out OUT."""
    job = api.run_postprocess(
        api.PostprocessConfig(refined / "half1.mrc", refined / "half2.mrc", out=out / "postprocess")
    )
    found = result(job)
    print(
        f"Map: {found['resolution_0143']:.1f} A, B-factor {found['bfactor']:.0f} A^2, in "
        f"{job / 'sharpened.mrc'}"
    )
    return job


def main(given: Sequence[str] | None = None) -> None:
    """All steps, one after the other."""
    options = arguments(given)
    star = options.particles or simulate(options.out)
    check(star)
    first = first_map(star, options)
    symmetry(first, options.resolution)
    selected = select(classes(first, options), options.out)
    refined = refine(selected, first, options.out)
    postprocess(refined, options.out)


if __name__ == "__main__":
    main()
