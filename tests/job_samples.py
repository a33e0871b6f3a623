"""One small run of every job that has a page of its own, so that all pages can be looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
import polars as pl
from conftest import simulated
from micrograph_samples import write_micrograph, write_table
from movie_samples import drift, sample, write_mrc
from test_ctf_estimation import thon_rings
from test_picking import COUNT, DIAMETER, micrograph, places

from vitreous.cli import app
from vitreous.io.star import read_star, write_star

HALVES = "reconstruct/half1.mrc reconstruct/half2.mrc"
SEARCH = "data/particles.star --no-check"
COARSE = "--resolution-limit 30 --mask-diameter 150 --iterations 2"

COMMANDS = (
    "motion movie.mrcs --pixel-size 1.4 --dose 1.5 --workers 1",
    "ctf rings.star --workers 1",
    f"pick blobs.star --diameter {DIAMETER} --workers 1",
    "extract blobs.star --coordinates pick/picks.star --box 96 --workers 1",
    "reconstruct data/particles.star",
    f"postprocess {HALVES}",
    f"local-resolution {HALVES}",
    f"anisotropy {HALVES}",
    "model-check model.cif data/truth.mrc --no-fit",
    "ctf-refine data/particles.star --map data/truth.mrc --beam-tilt --defocus",
    f"class2d {SEARCH} --classes 2 {COARSE}",
    f"classify3d {SEARCH} --reference data/truth.mrc reconstruct/map.mrc {COARSE} "
    "--angular-sampling 30",
    f"refine {SEARCH} --reference data/truth.mrc {COARSE}",
    f"abinit {SEARCH} --mask-diameter 150 --starts 1 --initial-iterations 2 --final-iterations 1 "
    "--between-iterations 2 --angular-sampling 30 --final-resolution 30",
    "process m/rings.mrc --pixel-size 1.4 --diameter 120 --workers 1",
)
"""In this order; each fills the folder of its name."""

JOBS = tuple(command.split()[0] for command in COMMANDS)

ATTACK = "\"'><script>window.hacked=1</script><img src=x onerror=window.hacked=2>\x1b[31m&amp;"
"""A name in a STAR file, which pages must show and not obey; no file system's limits are broken."""


def _write_model(path: Path) -> None:
    """A few atoms on a helix."""
    structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for number in range(30):
        atom, residue, turn = gemmi.Atom(), gemmi.Residue(), np.radians(100 * number)
        atom.name, atom.element = "CA", gemmi.Element("C")
        atom.pos = gemmi.Position(8 * np.cos(turn), 8 * np.sin(turn), 1.5 * number - 22)
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number + 1, " ")
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(path))


def _write_inputs(root: Path) -> None:
    simulated(root / "data", 100, box=40, pixel_size=5.0, snr=0.5, seed=3)
    _write_model(root / "model.cif")
    write_mrc(root / "movie.mrcs", sample(drift, (128, 160), 4).frames)
    write_micrograph(root / "m" / "rings.mrc", thon_rings(512, 13000, seed=1))
    write_table(root / "rings.star", ["m/rings.mrc"])
    write_micrograph(root / "m" / "blobs.mrc", micrograph(places(COUNT, 1), 1))
    write_table(root / "blobs.star", ["m/blobs.mrc"])


def _write_hostile(root: Path) -> None:
    """Particles whose stack, micrographs and optics group have hostile names."""
    stack = root / "data" / f"{ATTACK.replace('/', '')}.mrcs"
    stack.symlink_to("particles.mrcs")
    blocks = read_star(root / "data" / "particles.star")
    optics, particles = blocks["optics"], blocks["particles"]
    names = {
        "rlnImageName": pl.col("rlnImageName").str.replace(
            "particles.mrcs", stack.name, literal=True
        ),
        "rlnMicrographName": pl.lit(f"{ATTACK}.mrc"),
    }
    write_star(
        root / "data" / "hostile.star",
        [
            optics.with_frame(optics.frame.with_columns(rlnOpticsGroupName=pl.lit(ATTACK))),
            particles.with_frame(particles.frame.with_columns(**names)),
        ],
    )


def run_on_hostile_names(root: Path) -> Path:
    """Folder of a job whose page names its micrographs and optics groups; all others ran before."""
    _write_hostile(root)
    command = (
        "ctf-refine data/hostile.star --map data/truth.mrc --beam-tilt --defocus --out hostile"
    )
    _run(root, [command])
    return root / "hostile"


def _run(root: Path, commands: Sequence[str]) -> None:
    before = Path.cwd()
    os.chdir(root)
    try:
        for command in commands:
            app(command.split(), result_action="return_value")
    finally:
        os.chdir(before)


def run_every_job(root: Path) -> dict[str, Path]:
    """Folders of all jobs, each with the page that the job has written."""
    _write_inputs(root)
    _run(root, [f"{words} --out {job}" for job, words in zip(JOBS, COMMANDS, strict=True)])
    return {job: root / job for job in JOBS}
