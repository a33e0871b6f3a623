"""Finding symmetry axes and imposing a group, beside RELION's programs on the same map.

    python benchmarks/symmetry.py [--repeats 3] [--boxes 64 128] [--groups D2 O]

Phantoms of known point groups (4 A/px) under a random rotation and shift, with noise as strong as
the map.  RELION runs with its defaults, and with a finer search; ours lays the map on the axes of
the group it is told, as RELION's does, and then tests all groups.  Times are whole commands,
medians of the repeats; RELION's search is random, so that its runs differ.  cpu_s is user and
system time, which says more than wall_s where other work runs beside.  Angles are those between the
axes found and the true ones.  Rows of the same group and box in benchmarks/results/symmetry.csv
are replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import gemm_rate, measured
from rows import replace_rows

from vitreous.imaging.phantom import symmetric_residues
from vitreous.io.mrc import read_map, write_map
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import euler_to_matrix, random_rotations
from vitreous.math.symmetry import axes_apart, point_group
from vitreous.validate.symmetry.rotate import symmetrise_map

PIXEL, WIDTH, SHIFT = 4.0, 3.5, 1.5
RELION = "relion_align_symmetry --i map.mrc --o relion.mrc --sym {group}"
FINER = " --nr_uniform 1600 --local_search_range 4 --local_search_step 1"
OURS = (
    "{python} -m vitreous symmetry map.mrc --out ours.mrc --overwrite "
    "--resolution-limit 12 --align "
)
FIELDS = (
    *("group", "box", "program", "options", "cpu_s", "cpu_ratio", "wall_s", "error_deg"),
    *("worst_error_deg", "from_ours_deg", "correlation", "gemm"),
)


def make_map(group: str, box: int, folder: Path) -> torch.Tensor:
    """Write a noisy phantom; returns the rotation that it was turned by."""
    rotation = random_rotations(1, 1)[0]
    shift = np.random.default_rng(1).uniform(-SHIFT, SHIFT, 3) * PIXEL
    positions = symmetric_residues(group) @ rotation.numpy().T + shift
    volume = gaussian_sum(positions, np.ones(len(positions)), WIDTH, box, PIXEL)
    noise = torch.randn(volume.shape, generator=torch.Generator().manual_seed(1))
    write_map(folder / "map.mrc", (volume + volume.std() * noise).numpy(), PIXEL)
    return rotation


def spent(command: str, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of a command; what it prints is in ``command.log``."""
    figures = measured(shlex.split(command), folder / "command.log", folder)
    return figures["cpu_s"], figures["wall_s"]


def relion_matrix(printed: str) -> torch.Tensor:
    """The rotation that RELION laid the map on its axes by."""
    solution = re.search(r"refined solution is ROT = (\S+) TILT = (\S+) PSI = (\S+)", printed)
    assert solution is not None, printed
    return euler_to_matrix(*torch.tensor([[float(angle)] for angle in solution.groups()]))[0]


def our_matrix(folder: Path) -> torch.Tensor:
    """The same of ours."""
    return torch.tensor(json.loads((folder / "ours.json").read_text())["chosen"]["matrix"])


def compared(group: str, box: int, repeats: int, folder: Path) -> list[dict[str, object]]:
    """Rows of one map."""
    turned = make_map(group, box, folder)
    ours = OURS.format(python=sys.executable)
    ways = {
        ("vitreous", "--align GROUP"): ours + group,
        ("vitreous", "--align auto"): ours + "auto",
        ("vitreous", "--align GROUP --impose"): ours + f"{group} --impose",
        ("relion_align_symmetry", "defaults"): RELION.format(group=group),
        ("relion_align_symmetry", FINER.strip()): RELION.format(group=group) + FINER,
    }
    rows, reference, first = [], None, None
    for (program, options), command in ways.items():
        times, errors, apart = [], [], []
        for _ in range(repeats):
            times.append(spent(command, folder))
            printed = (folder / "command.log").read_text()
            matrix = our_matrix(folder) if program == "vitreous" else relion_matrix(printed)
            reference = matrix if reference is None else reference
            errors.append(axes_apart(group, matrix.double() @ turned))
            apart.append(axes_apart(group, matrix.double() @ reference.double().T))
        cpu, wall = (statistics.median(column) for column in zip(*times, strict=True))
        first = cpu if first is None else first
        rows.append(
            {
                "program": program,
                "options": options,
                "cpu_s": cpu,
                "cpu_ratio": cpu / first,
                "wall_s": wall,
                "error_deg": statistics.median(errors),
                "worst_error_deg": max(errors),
                "from_ours_deg": statistics.median(apart),
            }
        )
    command = f"relion_image_handler --i ours.mrc --o theirs.mrc --sym {group}"
    spent(ours + group, folder)
    times = [spent(command, folder) for _ in range(repeats)]
    cpu, wall = (statistics.median(column) for column in zip(*times, strict=True))
    aligned, theirs = (
        torch.from_numpy(read_map(folder / name)[0]) for name in ("ours.mrc", "theirs.mrc")
    )
    both = torch.stack([symmetrise_map(aligned, point_group(group)).flatten(), theirs.flatten()])
    rows.append(
        {
            "program": "relion_image_handler --sym",
            "cpu_s": cpu,
            "wall_s": wall,
            "correlation": float(torch.corrcoef(both)[0, 1]),
        }
    )
    return [{"group": group, "box": box, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--boxes", type=int, nargs="+", default=[64])
    parser.add_argument("--groups", nargs="+", default=["C3", "D2", "D7", "O"])
    arguments = parser.parse_args()
    target = Path(__file__).parent / "results" / "symmetry.csv"
    for group in arguments.groups:
        for box in arguments.boxes:
            with tempfile.TemporaryDirectory() as folder:
                rate = gemm_rate()
                found = compared(group, box, arguments.repeats, Path(folder))
            found = [{**row, "gemm": rate} for row in found]
            replace_rows(target, FIELDS, found, {"group": group, "box": box})
    print(target.read_text())


if __name__ == "__main__":
    main()
