"""Size of the page of a classification of four maps at box 128, and processor time to make it.

Run: python benchmarks/report_page.py [--box 128] [--classes 4] [--particles 20000]

With --job FOLDER --job-cpu SECONDS the page of that finished job is made instead, and its time is
told as a share of the job's own processor time, as the shell's ``time`` measured it.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from vitreous.imaging.phantom import built_in_phantom
from vitreous.io.mrc import read_header, write_map
from vitreous.report.html import write_report
from vitreous.runs.log import EventLog

RESULTS = Path(__file__).parent / "results" / "report_page.csv"
PIXEL = 1.5


def make_job(folder: Path, box: int, classes: int, particles: int) -> None:
    """A finished classification: maps in noise, poses, passes."""
    rng = np.random.default_rng(0)
    phantom = built_in_phantom(box, PIXEL).numpy()
    for number in range(1, classes + 1):
        noise = 0.1 * phantom.std() * rng.normal(size=phantom.shape)
        write_map(folder / f"class{number:03d}.mrc", (phantom + noise).astype(np.float32), PIXEL)
    names = ("AngleRot", "AngleTilt", "ClassNumber", "OriginXAngst", "OriginYAngst")
    rows = np.column_stack(
        [
            rng.uniform(-180, 180, particles),
            np.degrees(np.arccos(rng.uniform(-1, 1, particles))),
            rng.integers(1, classes + 1, particles),
            rng.normal(size=(particles, 2)),
        ]
    )
    header = "".join(f"_rln{name} #{i}\n" for i, name in enumerate(names, 1))
    body = "\n".join(f"{a:.3f} {b:.3f} {int(k)} {x:.3f} {y:.3f}" for a, b, k, x, y in rows)
    (folder / "particles.star").write_text(f"data_particles\n\nloop_\n{header}{body}\n")
    with EventLog(folder / "log.jsonl") as log:
        for i in range(1, 26):
            log("classification", iteration=i, at_most=25, resolution=15.0, log_likelihood=float(i))
    frequency = (np.arange(box // 2) / (box * PIXEL)).tolist()
    corrected = np.exp(-np.arange(box // 2) / 20).tolist()
    entries = [
        {
            **{"class": k, "map": f"class{k:03d}.mrc", "label": "map", "fixed": False},
            **{"particles": particles // classes, "fraction": 1 / classes},
            "resolution_0143": 8.0,
            "fsc": {"frequency": frequency, "corrected": corrected},
        }
        for k in range(1, classes + 1)
    ]
    flow = [(np.eye(classes) * particles / classes).tolist()] * 24
    result = {
        **{"job": "classify3d", "version": "0", "versions": {}, "options": {}, "device": "cpu"},
        **{"input": {"n_particles": particles}, "timings": {"total_s": 3600.0}, "warnings": []},
        **{"classes": entries, "decoys": [], "recognised_decoys": [], "flow": flow},
        **{"changed": [0.01] * 25, "passes": 25, "passes_at_limit": 5, "settled": True},
        **{"settled_below": 0.02, "effective_classes": float(classes), "symmetry": "C1"},
        **{"resolution_limit": 8.0, "mask_diameter": 0.8 * box * PIXEL},
    }
    (folder / "result.json").write_text(json.dumps(result))


def measured(folder: Path, used: float | None = None) -> dict[str, object]:
    """A row of the table; ``used`` is the job's own processor time."""
    result = json.loads((folder / "result.json").read_text())
    seconds = []
    for _ in range(3):  # the first loads Matplotlib and compiles the templates
        began = time.process_time()
        page = write_report(folder)
        seconds.append(time.process_time() - began)
    return {
        "job": result["job"],
        "box": read_header(folder / result["classes"][0]["map"]).shape[0],
        "classes": len(result["classes"]),
        "particles": result["input"]["n_particles"],
        "MB": f"{page.stat().st_size / 1e6:.2f}",
        "first_cpu_s": f"{seconds[0]:.2f}",
        "later_cpu_s": f"{min(seconds[1:]):.2f}",
        "job_cpu_s": "" if used is None else f"{used:.0f}",
        "share": "" if used is None else f"{min(seconds[1:]) / used:.1%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--particles", type=int, default=20_000)
    parser.add_argument("--job", type=Path)
    parser.add_argument("--job-cpu", type=float)
    given = parser.parse_args()
    if given.job is None:
        with tempfile.TemporaryDirectory() as place:
            make_job(Path(place), given.box, given.classes, given.particles)
            row = measured(Path(place))
    else:
        row = measured(given.job, given.job_cpu)
    old = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    with RESULTS.open("w", newline="") as file:
        rows = csv.DictWriter(file, list(row), restval="")
        rows.writeheader()
        rows.writerows([*old, row])
    print(row)


if __name__ == "__main__":
    main()
