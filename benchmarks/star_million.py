"""Reading and writing a particle table of a million rows, beside pandas' C reader and writer.

    python benchmarks/star_million.py --work FOLDER [--rows 1000000] [--repeats 3]

Each timing runs in a process of its own, ours and pandas' in turn; medians, their ratios and peak
memory go to benchmarks/results/star_million.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnImagePixelSize #3
_rlnImageSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
1 opticsGroup1 1.000000 256 300.000000 2.700000 0.100000

"""
NAMED = ("rlnImageName", "rlnOpticsGroup", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")

CHILD = """
import json, resource, sys, time
task, star, out = sys.argv[1:]
import numpy as np, pandas, polars
from vitreous.io.star import read_star, write_star
from vitreous.particles.files import read_particles, write_particles
text = open(star, "rb").read() if task.startswith("pandas") else b""
skip = text.index(b"\\n000001@") + 1 if text else 0
del text
clock = time.perf_counter
began = clock()
if task == "read_star": read_star(star)
elif task == "read_particles": read_particles(star)
elif task == "pandas_read": pandas_read = open(star, "rb"); pandas_read.seek(skip); pandas.read_csv(
    pandas_read, sep=r"\\s+", header=None)
elif task == "write_star":
    blocks = read_star(star); began = clock(); write_star(out, blocks.values())
elif task == "write_particles":
    table = read_particles(star); n = len(table); a = np.random.default_rng(0).normal(size=(5, n))
    names = ("rot", "tilt", "psi", "origin_x", "origin_y")
    began = clock(); write_particles(out, table.with_fields(**dict(zip(names, a))))
elif task == "pandas_write":
    f = open(star, "rb"); f.seek(skip); frame = pandas.read_csv(f, sep=r"\\s+", header=None)
    began = clock(); frame.to_csv(out, sep=" ", header=False, index=False)
print(json.dumps([clock() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
TASKS = (
    *("read_star", "read_particles", "pandas_read"),
    *("write_star", "write_particles", "pandas_write"),
)


def make(path: Path, rows: int) -> None:
    """Write a table in RELION's layout, 25 columns, images in 500 small stacks."""
    rng = np.random.default_rng(0)
    names = [*NAMED, *(f"rlnOther{i}" for i in range(20))]
    folder = path.parent / "Extract"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(500):
        (folder / f"mic{number:03d}.mrcs").touch()
    with path.open("w") as file:
        header = "".join(f"_{name} #{i}\n" for i, name in enumerate(names, 1))
        file.write(OPTICS + "\n# version 30001\n\ndata_particles\n\nloop_\n" + header)
        for start in range(0, rows, 50_000):
            values = rng.uniform(-100, 20_000, (min(50_000, rows - start), 23))
            for number, row in enumerate(values, start + 1):
                cells = " ".join(f"{value:12.6f}" for value in row)
                file.write(f"{number:06d}@Extract/mic{number % 500:03d}.mrcs 1 {cells} \n")
        file.write("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    star = arguments.work / "million.star"
    make(star, arguments.rows)
    found: dict[str, list[list[float]]] = {task: [] for task in TASKS}
    for _ in range(arguments.repeats):
        for task in TASKS:
            command = [sys.executable, "-c", CHILD, task, str(star), f"{star}.out"]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            found[task].append(json.loads(result.stdout))
    Path(f"{star}.out").unlink()
    medians = {
        task: [statistics.median(figures) for figures in zip(*runs, strict=True)]
        for task, runs in found.items()
    }
    target = Path(__file__).parent / "results" / "star_million.csv"
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "rows", "columns", "seconds", "peak_MB", "times_pandas"])
        for task, (seconds, peak) in medians.items():
            base = medians["pandas_read" if "read" in task else "pandas_write"][0]
            row = [task, arguments.rows, 25, f"{seconds:.2f}", f"{peak:.0f}"]
            writer.writerow([*row, f"{seconds / base:.2f}"])
    print(target.read_text())


if __name__ == "__main__":
    main()
