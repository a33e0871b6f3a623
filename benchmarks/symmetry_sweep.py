"""Symmetry found where there is none, and missed where there is: `vitreous symmetry` on known maps.

    python benchmarks/symmetry_sweep.py --data DATA [--cases ruvb D2] [--noise 0 1 3 6] [--seeds 3]

``DATA`` is the folder of models that the tests use.  Molecules without symmetry (RuvB is nearly a
hexamer: it should be C1 with a warning), apoferritin, and phantoms of point groups, in a box of 48
pixels: turned and shifted at random, low-passed to 12 A, with white noise of so many times the
map's standard deviation, low-passed alike.  All groups are tested, to 15 A, with default options.
A verdict is right, a false positive (a group that the molecule does not have), or missed (a smaller
group than its own, or none).  Writes benchmarks/results/symmetry_sweep.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rows import write_rows

from vitreous.config.maps import SymmetryConfig
from vitreous.imaging.filters import low_pass
from vitreous.imaging.phantom import symmetric_residues
from vitreous.io.models import density, read_model
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.symmetry import run_symmetry
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import random_rotations
from vitreous.math.symmetry import axes_apart, point_group

RESULTS = Path(__file__).parent / "results" / "symmetry_sweep.csv"
FIELDS = (
    *("case", "truth", "noise", "seed", "found", "verdict", "pseudosymmetry", "score", "allowed"),
    *("noise_from", "error_deg", "cpu_s"),
)
BOX, LOW_PASS, RESOLUTION, SHIFT, WIDTH = 48, 12.0, 15.0, 1.5, 3.5


@dataclass(frozen=True)
class Case:
    """A molecule of the data, or (without a model) a phantom of the group."""

    truth: str
    pixel_size: float
    model: str | None = None


CASES = {
    "pol2": Case("C1", 5.0, "1y1v_polII_TFIIS.pdb"),
    "ruvb": Case("C1", 4.5, "7pbl.pdb"),
    "groel": Case("C1", 3.0, "groel_apo_CA.pdb"),
    "riboswitch": Case("C1", 3.0, "4gxy_riboswitchRNA.cif"),
    "apoferritin": Case("O", 3.5, "apoferritin_CA_sym_cryolike.pdb"),
    **{group: Case(group, 4.5) for group in ("C3", "D2", "D7")},
}


def made(case: Case, data: Path, noise: float, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """A map and the rotation that it was turned by."""
    rotation = random_rotations(1, seed)[0].numpy()
    shift = np.random.default_rng(seed).uniform(-SHIFT, SHIFT, 3) * case.pixel_size
    if case.model is None:
        positions = symmetric_residues(case.truth) @ rotation.T + shift
        volume = gaussian_sum(positions, np.ones(len(positions)), WIDTH, BOX, case.pixel_size)
    else:
        model = read_model(data / "models" / case.model)
        moved = replace(model, positions=model.positions @ rotation.T + shift)
        volume = torch.from_numpy(density(moved, BOX, case.pixel_size))
    volume = low_pass(volume, case.pixel_size, LOW_PASS)
    grain = torch.randn(volume.shape, generator=torch.Generator().manual_seed(seed))
    grain = low_pass(grain, case.pixel_size, LOW_PASS)
    return volume + noise * volume.std() / grain.std() * grain, rotation


def verdict(found: str, truth: str) -> str:
    """What the group found is worth."""
    if found == truth:
        return "right"
    # A subgroup's order divides; for the groups here that and a smaller order suffice.
    whole, part = len(point_group(truth)), len(point_group(found))
    return "missed" if part < whole and whole % part == 0 else "false positive"


def row_of(name: str, data: Path, noise: float, seed: int) -> dict[str, object]:
    """One map judged."""
    case = CASES[name]
    volume, rotation = made(case, data, noise, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.mrc"
        write_map(path, volume.numpy(), case.pixel_size)
        began = time.process_time()
        finding = run_symmetry(SymmetryConfig(path, resolution_limit=RESOLUTION)).finding
        spent = time.process_time() - began
    best = max(finding.scores, key=lambda score: score.relative)
    held = None if finding.group == "C1" else finding.score_of(finding.group)
    near = [score.group for score in finding.scores if finding.verdict(score) == "nearly"]
    error = float("nan")
    if held is not None and finding.group == case.truth:
        error = axes_apart(case.truth, torch.from_numpy(held.matrix @ rotation))
    return {
        "case": name,
        "truth": case.truth,
        "noise": noise,
        "seed": seed,
        "found": finding.group,
        "verdict": verdict(finding.group, case.truth),
        "pseudosymmetry": " ".join(near),
        "score": (held or best).score,
        "allowed": (held or best).allowed,
        "noise_from": finding.noise,
        "error_deg": error,
        "cpu_s": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 1.0, 3.0, 6.0])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows: list[dict] = []
    for name in arguments.cases:
        for noise in arguments.noise:
            for seed in range(arguments.seeds):
                row = row_of(name, arguments.data, noise, seed)
                print(row, flush=True)
                rows.append(row)
                write_rows(RESULTS, FIELDS, rows)


if __name__ == "__main__":
    main()
