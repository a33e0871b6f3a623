"""Ab initio from several seeds beside the truth: how often it finds the molecule, and how well.

    python benchmarks/abinit_seeds.py pol2 --data DATA --work FOLDER [--seeds 10]
    python benchmarks/abinit_seeds.py pol2-float32 --data DATA --work FOLDER [--seeds 10]
    python benchmarks/abinit_seeds.py apoferritin-c1 --data DATA --work FOLDER [--seeds 3]
    python benchmarks/abinit_seeds.py apoferritin-o --data DATA --work FOLDER [--seeds 10]

``DATA`` is the folder of particles and models that the tests use.  Every seed, good or bad, is a
row of benchmarks/results/NAME.csv.
"""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from machine import measured, version, vitreous
from rows import write_rows

from vitreous.config.maps import CompareConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.jobs.compare import run_compare
from vitreous.jobs.simulate import run_simulate

APOFERRITIN = "models/apoferritin_CA_sym_cryolike.pdb"
REAL_STACK = "empiar10146/particles_3.0A_72.star"


@dataclass(frozen=True)
class Case:
    """Particles (real, or simulated from the model), the model they show, and the options."""

    model: str
    options: str
    particles: str | None = None
    count: int = 3000
    box: int = 64
    pixel_size: float = 4.0
    snr: float = 0.1


CASES = {
    "pol2": Case("models/1y1v_polII_TFIIS.pdb", "--mask-diameter 200 --starts 1"),
    "pol2-10000": Case(
        "models/1y1v_polII_TFIIS.pdb",
        "--mask-diameter 200 --starts 1",
        count=10000,
        box=128,
        pixel_size=2.0,
        snr=0.05,
    ),
    "pol2-float32": Case(
        "models/1y1v_polII_TFIIS.pdb", "--mask-diameter 200 --starts 1 --precision float32"
    ),
    "apoferritin-c1": Case(APOFERRITIN, "--mask-diameter 150 --starts 1", REAL_STACK),
    "apoferritin-o": Case(
        APOFERRITIN, "--mask-diameter 150 --symmetry O --final-resolution 10 --starts 1", REAL_STACK
    ),
    "apoferritin-o-4-starts": Case(
        APOFERRITIN, "--mask-diameter 150 --symmetry O --final-resolution 10 --starts 4", REAL_STACK
    ),
}
FIELDS = (
    *("seed", "fsc05_A", "fsc0143_A", "correlation", "correlation_25A", "hand", "log_evidence"),
    *("wall_s", "options", "version"),
)


def particles_of(case: Case, data: Path, work: Path) -> tuple[Path, Path]:
    """STAR file and truth of a case."""
    model = data / case.model
    if case.particles is not None:
        return data / case.particles, model
    config = SimulateConfig(
        model,
        out=work / "data",
        n=case.count,
        box=case.box,
        pixel_size=case.pixel_size,
        snr=case.snr,
        overwrite=True,
    )
    run_simulate(config)
    return work / "data" / "particles.star", work / "data" / "truth.mrc"


def run_seed(case: Case, particles: Path, truth: Path, out: Path, seed: int) -> dict[str, object]:
    """One ab initio job and its comparison with the truth."""
    words = ("--out", out, "--overwrite", *shlex.split(case.options), "--seed", seed)
    wall = measured(vitreous("abinit", particles, *words), out.with_suffix(".log"))["wall_s"]
    aligned = out / "aligned.mrc"
    found = run_compare(CompareConfig(out / "class001.mrc", truth, out=aligned, overwrite=True))
    starts = json.loads((out / "result.json").read_text())["starts"]
    evidence = next(start["log_likelihood"] for start in starts if start["chosen"])
    return {
        "seed": seed,
        "fsc05_A": found.resolution_05,
        "fsc0143_A": found.resolution_0143,
        "correlation": found.correlation,
        "correlation_25A": found.correlation_25,
        "hand": found.hand,
        "log_evidence": evidence,
        "wall_s": wall,
        "options": case.options,
        "version": version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    case, work = CASES[arguments.case], arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    particles, truth = particles_of(case, arguments.data.resolve(), work)
    target = Path(__file__).parent / "results" / f"{arguments.case.replace('-', '_')}.csv"
    rows: list[dict[str, object]] = []
    for seed in range(arguments.seeds):
        rows.append(run_seed(case, particles, truth, work / f"{arguments.case}{seed}", seed))
        write_rows(target, FIELDS, rows)
    print(target.read_text())


if __name__ == "__main__":
    main()
