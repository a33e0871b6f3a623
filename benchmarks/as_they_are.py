"""Ab initio on particles as they are: coloured noise, junk, neighbours, wrong defoci.

    python benchmarks/as_they_are.py --instruments FOLDER --data DATA --work FOLDER \
        [--cases riboswitch ...] [--snr 0.12 ...] [--seeds 0 1 ...] [--program relion]

``FOLDER`` of the instruments holds an independent simulator (model_npz.py, holdsim.py), which turns
atoms in real space; ``DATA`` the models that the tests use.  A stack holds 3,000 good particles and
15 % junk of five kinds; its signal-to-noise ratio is that over the box.  A map is right if its FSC
with the truth is 0.5 at no more than 1.3 times the resolution of the map that the good particles
give at their true poses; of several molecules, if 90 % of their particles are in a class of their
own, or in one that is called a duplicate of it.  Every job, good or bad, is a row of
benchmarks/results/as_they_are.csv, in the place of one of the same case, ratio, seed and program.
RELION's program is ``relion_refine --sgd`` with the settings of its tutorial.  Its mask is a tenth
wider than the molecule.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import torch
from beside_relion import RELION
from machine import measured, version
from rows import keep
from trust import ACCEPTED, classes_of, resolution, resolution_at_true_poses, run_abinit

from vitreous.imaging.map_grid import extent
from vitreous.io.mrc import read_map
from vitreous.validate.labels import contingency, matched

RESULTS = Path(__file__).parent / "results" / "as_they_are.csv"
FIELDS = (
    *("case", "snr", "seed", "program", "verdict", "right", "fsc05_A", "needed_A", "labels"),
    *("good_kept", "junk_dropped", "wall_s", "cpu_s", "sentence", "options", "version"),
)
PROGRAMS = ("vitreous", "relion")
SNRS = ("0.15", "0.12", "0.06", "0.03")
_WIDER = 1.1
"""RELION's mask over the molecule's diameter."""
RIGHT_LABELS = 0.9
"""Share of the good particles in the class of their molecule."""


@dataclass(frozen=True)
class Model:
    """Some chains of a file among the models; all without a name.

    Attributes
    ----------
    file, chains : str
    """

    file: str
    chains: str = ""


@dataclass(frozen=True)
class Case:
    """Molecules, and the options of their job.

    Attributes
    ----------
    models : tuple of Model
        Several are mixed, 1,000 particles of each.
    pixel_size : float
        Angstrom.
    options : str
    snrs : tuple of str
    box : int
    """

    models: tuple[Model, ...]
    pixel_size: float = 3.0
    options: str = ""
    snrs: tuple[str, ...] = ("0.12", "0.06", "0.03")
    box: int = 64


RIBOSWITCH, GROEL = Model("4gxy_riboswitchRNA.cif"), Model("groel_apo_CA.pdb")
RUVB, POL2 = "7pbl.pdb", "1y1v_polII_TFIIS.pdb"
RECIPE = (
    "--classes 3 --initial-resolution 25 --final-resolution 8 --initial-iterations 400 "
    "--final-iterations 600 --initial-batch 300 --final-batch 1000 --class-similarity 0.1"
)
"""Options of cryoSPARC's tutorial for small RNA."""
FOUR = (RIBOSWITCH, GROEL, Model(RUVB, "A"), Model(POL2, "CJKL"))

CASES = {
    "riboswitch": Case((RIBOSWITCH,)),
    "pol2": Case((Model(POL2),), 4.0),
    "ruvb": Case((Model(RUVB),)),
    "groel": Case((GROEL,)),
    "apoferritin": Case((Model("apoferritin_CA_sym_cryolike.pdb"),), options="--symmetry O"),
    "four-of-4": Case(FOUR, options="--classes 4", snrs=("0.15",)),
    "four-of-5": Case(FOUR, options="--classes 5", snrs=("0.15",)),
    "rna-recipe": Case((RIBOSWITCH,), 2.0, RECIPE, ("0.06",), 80),
}


def atoms_of(model: Model, instruments: Path, data: Path, made: Path) -> Path:
    """The simulator's file of a model's atoms."""
    source = data / "models" / model.file
    if model.chains:
        structure = gemmi.read_structure(str(source))
        for name in {chain.name for chain in structure[0]} - set(model.chains):
            structure[0].remove_chain(name)
        source = made.with_suffix(".pdb")
        structure.write_pdb(str(source))
    command = [sys.executable, str(instruments / "model_npz.py"), str(source), str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def simulated(case: Case, snr: str, instruments: Path, data: Path, work: Path) -> Path:
    """Name that the files of a stack begin with; made once."""
    name = work / f"snr{snr}"
    if beside(name, "_true.star").is_file():
        return name
    share = ":1000" if len(case.models) > 1 else ""
    atoms = [
        f"{atoms_of(model, instruments, data, work / f'atoms{number}.npz')}{share}"
        for number, model in enumerate(case.models)
    ]
    options = ["--px", str(case.pixel_size), "--box", str(case.box), "--snr", snr, "--seed", "1"]
    stack = [str(instruments / "holdsim.py"), str(name), "--model", *atoms, *options]
    subprocess.run([sys.executable, *stack], check=True, capture_output=True)
    return name


def beside(name: Path, ending: str) -> Path:
    """Another file of the same stack."""
    return name.with_name(name.name + ending)


def run_job(name: Path, options: str, out: Path, seed: int, needed: float) -> dict[str, object]:
    """One default job, its verdict, and the truth about it."""
    figures = run_abinit(beside(name, ".star"), options, out, seed)
    row: dict[str, object] = {
        "wall_s": figures["wall_s"],
        "cpu_s": figures["cpu_s"],
        "needed_A": ACCEPTED * needed,
    }
    if figures["stopped"]:
        return row | {"verdict": "stopped", "right": False, "sentence": figures["stopped"]}
    result = json.loads((out / "result.json").read_text())
    truth = np.load(beside(name, "_truth.npz"))["label"]
    shown = ("map", "duplicate")
    maps = [entry["class"] - 1 for entry in result["classes"] if entry["label"] in shown]
    classes = classes_of(out / "particles.star")
    kept = np.isin(classes, maps)
    judged = {
        "verdict": result["verdict"],
        "good_kept": float(kept[truth >= 0].mean()),
        "junk_dropped": float((~kept[truth < 0]).mean()),
        "sentence": result["sentence"],
    }
    if truth.max() > 0:
        for entry in result["classes"]:
            if entry.get("duplicate_of"):
                classes[classes == entry["class"] - 1] = entry["duplicate_of"] - 1
        count = int(max(truth.max(), classes.max())) + 1
        good = kept & (truth >= 0)
        alike = contingency(truth[good], classes[good], count)
        right = matched(alike)[1] * good.sum() / (truth >= 0).sum()
        return row | judged | {"labels": float(right), "right": bool(right >= RIGHT_LABELS)}
    largest = 1 + max(maps, key=lambda number: np.count_nonzero(classes == number), default=0)
    found = resolution(out / f"class{largest:03d}.mrc", beside(name, "_gt0.mrc"))
    return row | judged | {"right": found <= ACCEPTED * needed, "fsc05_A": found}


def run_relion(name: Path, options: str, out: Path, seed: int, needed: float) -> dict[str, object]:
    """One job of RELION, and the truth about its last map."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    truth = beside(name, "_gt0.mrc")
    volume, pixel_size = read_map(truth)
    command = RELION.format(
        out=out,
        star=beside(name, ".star").name,
        symmetry=options.split()[-1] if "--symmetry" in options else "C1",
        diameter=_WIDER * extent(torch.from_numpy(volume), pixel_size),
        seed=seed,
    )
    figures = measured(shlex.split(command), out / "relion.log", name.parent)
    found = resolution(max(out.glob("run_it*_class001.mrc")), truth)
    times = {column: figures[column] for column in ("wall_s", "cpu_s")}
    right = {"right": found <= ACCEPTED * needed, "fsc05_A": found, "needed_A": ACCEPTED * needed}
    return {"verdict": "none", **right, **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--instruments", "--data", "--work"):
        parser.add_argument(name, type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--snr", nargs="+", choices=SNRS, default=list(SNRS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--options", default="", help="more options for every job")
    parser.add_argument("--program", choices=PROGRAMS, default=PROGRAMS[0])
    given = parser.parse_args()
    for case_name in given.cases:
        case, work = CASES[case_name], given.work / case_name
        work.mkdir(parents=True, exist_ok=True)
        for snr in [snr for snr in given.snr if snr in case.snrs]:
            stack = simulated(case, snr, given.instruments, given.data, work)
            truth = beside(stack, "_gt0.mrc")
            needed = math.nan
            if len(case.models) == 1:
                needed = resolution_at_true_poses(
                    beside(stack, "_true.star"), truth, beside(stack, "_ceiling.mrc")
                )
            options = f"{case.options} {given.options}".strip()
            for seed in given.seeds:
                ours = given.program == PROGRAMS[0]
                one, kind = (run_job, "job") if ours else (run_relion, "relion")
                job = one(stack, options, beside(stack, f"_{kind}{seed}"), seed, needed)
                row = {"case": case_name, "snr": snr, "seed": seed, "program": given.program,
                       "options": options, "version": version(), **job}  # fmt: skip
                print(row, flush=True)
                columns = {"case": list(CASES), "snr": SNRS, "seed": None, "program": PROGRAMS}
                keep(RESULTS, FIELDS, row, columns)


if __name__ == "__main__":
    main()
