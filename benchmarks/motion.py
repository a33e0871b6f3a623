"""Motion correction of simulated movies beside RELION's own: error, and processor time.

    python benchmarks/motion.py --instruments FOLDER --work FOLDER \
        [--cases defocus-1300 defocus-900 ...] [--seeds 201 202 ...]

``FOLDER`` of the instruments holds an independent simulator (moviesim.py: particles in ice that
diffuses, damage, CTF, counting noise, a gain reference, hot and dead pixels).  Errors are root mean
squares in pixels over all frames and 9 x 9 places, the mean over frames taken off at each place.
RELION's is the least of five settings of patches and grouping, as no one setting is best for all
movies.  Processor time is of the work on the movie (reading, motion, dose-weighted and plain sums,
writing) on one core, in a job that has done another movie before it, and of the whole command for
it alone: imports and kernels, which many movies share, the gain's orientation and the report;
RELION's is that of its best setting.  Every movie is a row of benchmarks/results/motion.csv, in the
place of one of the same case and seed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from machine import measured, version, vitreous
from rows import keep

from vitreous.io.detector import read_gain
from vitreous.io.movies import open_movie
from vitreous.io.star import read_star
from vitreous.preprocessing.motion.correct import MotionSettings, correct_motion
from vitreous.preprocessing.motion.field import MotionField
from vitreous.preprocessing.motion.frames import Detector
from vitreous.preprocessing.motion.gain import Orientation

RESULTS = Path(__file__).parent / "results" / "motion.csv"
FIELDS = (
    *("case", "seed", "moved_px", "error_px", "whole_px", "local_px", "whole_only_px", "cpu_s"),
    "command_cpu_s",
    *("relion_error_px", "relion_setting", "relion_cpu_s", "version"),
)
PIXEL = 1.4
_SETTINGS = ((1, 1), (3, 1), (3, 3), (4, 1), (4, 3))
"""Patches on a side and frames a group that RELION is tried with."""


@dataclass(frozen=True)
class Case:
    """Options of the simulator, and which seeds are run."""

    options: str
    seeds: tuple[int, ...]


_STRONG = "--epx 2 --local 6 --offmodel 0.7"
CASES = {
    "defocus-1300": Case(f"{_STRONG} --U 13250 --V 12750", tuple(range(211, 221))),
    "defocus-900": Case(f"{_STRONG} --U 9250 --V 8750", tuple(range(211, 221))),
    "still": Case("--epx 2 --local 0.4 --offmodel 0.15 --U 13250 --V 12750", (401, 402)),
    "large": Case(f"{_STRONG} --n 2048 --frames 30 --npart 280 --U 13250 --V 12750", (301, 302)),
}


def simulated(case: str, seed: int, instruments: Path, work: Path) -> Path:
    """Stem of a movie's files, made unless they are there."""
    stem = work / f"{case}_{seed}"
    if not stem.with_suffix(".npz").exists():
        command = [sys.executable, str(instruments / "moviesim.py"), str(stem), "--seed", str(seed)]
        subprocess.run([*command, *CASES[case].options.split()], check=True)
    return stem


def displacements(star: Path, grid: np.ndarray) -> np.ndarray:
    """Displacements (frames, 9, 9, 2) of the content that a STAR file of RELION's kind tells."""
    blocks = read_star(star)
    shifts = blocks["global_shift"].frame
    curve = -shifts.select("rlnMicrographShiftX", "rlnMicrographShiftY").cast(float).to_numpy()
    found = np.zeros((len(curve), len(grid), len(grid), 2)) + curve[:, None, None]
    if "local_motion_model" not in blocks:
        return found
    values = blocks["local_motion_model"].frame["rlnMotionModelCoeff"].cast(float).to_numpy()
    z = np.arange(len(curve), dtype=float)
    time = np.stack([z, z**2, z**3], -1)
    x, y = np.meshgrid(grid - 0.5, grid - 0.5)
    space = np.stack([np.ones_like(x), x, x**2, y, y**2, x * y])
    for axis, part in enumerate(values.reshape(2, 6, 3)):
        found[..., axis] -= np.einsum("tk,sk,syx->tyx", time, part, space)
    return found


def parts(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Errors in pixels: in all, of the whole, and of what is local."""
    apart = (found - found.mean(0)) - (truth - truth.mean(0))
    whole = apart.mean((1, 2))

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt((values**2).sum(-1).mean()))

    local = apart - whole[:, None, None]
    return {"error_px": rms(apart), "whole_px": rms(whole), "local_px": rms(local)}


def processor_times(stem: Path, known: dict[str, np.ndarray]) -> dict[str, float]:
    """Seconds for a movie that is not the first of its job, and for a command for it alone."""
    folder, name, before = stem.parent, f"{stem.name}.tif", f"{stem.name}_before.tif"
    out = stem.with_name(f"{stem.name}_vitreous")
    (folder / before).unlink(missing_ok=True)
    (folder / before).hardlink_to(folder / name)
    options = ["--out", out.name, "--gain", f"{stem.name}_gain.mrc", "--workers", "1"]
    options += ["--pixel-size", str(PIXEL), "--dose", f"{float(known['dose']):.6f}"]

    def corrected(*names: str) -> float:
        shutil.rmtree(out, ignore_errors=True)
        words = vitreous("motion", *names, *options)
        return measured(words, folder / "motion.log", folder)["cpu_s"]

    alone = corrected(name)
    corrected(before, name)
    record = json.loads((out / "result.json").read_text())["movies"][name]
    return {"cpu_s": float(record["cpu_s"]), "command_cpu_s": alone}


def ours(stem: Path, known: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """Errors of the field itself, and processor time of the command."""
    movie = open_movie(stem.with_suffix(".tif"))
    raw = np.stack([movie.frame(number) for number in range(len(movie))])
    gain = Orientation(0, 1).apply(read_gain(stem.with_name(f"{stem.name}_gain.mrc")))
    field = correct_motion(raw, Detector(np.ascontiguousarray(gain)), MotionSettings(PIXEL)).field
    grid = (known["gq"] + 0.5) / movie.height
    found = field.at(grid, grid)
    only = MotionField(field.curve, np.zeros((1, 1, 1, 2))).at(grid, grid)
    whole_only = parts(only, truth)["error_px"]
    return {**parts(found, truth), "whole_only_px": whole_only, **processor_times(stem, known)}


def relions(stem: Path, known: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, object]:
    """Least error of RELION's own motion correction, its setting and its processor time."""
    if shutil.which("relion_run_motioncorr") is None:
        return {}
    name, folder = stem.name, stem.parent
    gain = mrcfile.read(folder / f"{name}_gain.mrc")
    with mrcfile.new(folder / f"{name}_flipped.mrc", overwrite=True) as file:
        file.set_data(np.ascontiguousarray(gain[::-1]))
    (folder / f"{name}.star").write_text(
        "data_optics\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n"
        "_rlnMicrographOriginalPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n"
        f"_rlnAmplitudeContrast\na 1 {PIXEL} 300 2.7 0.1\n\n"
        f"data_movies\nloop_\n_rlnMicrographMovieName\n_rlnOpticsGroup\n{name}.tif 1\n"
    )
    best: dict[str, object] = {}
    grid = (known["gq"] + 0.5) / gain.shape[0]
    for patches, group in _SETTINGS:
        out = f"{name}_relion_{patches}_{group}"
        command = f"relion_run_motioncorr --i {name}.star --o {out} --use_own --j 1 --save_noDW"
        command += f" --patch_x {patches} --patch_y {patches} --group_frames {group} --bfactor 150"
        command += f" --gainref {name}_flipped.mrc --dose_weighting"
        command += f" --dose_per_frame {float(known['dose']):.6f}"
        cpu = measured(command.split(), folder / "relion.log", folder)["cpu_s"]
        error = parts(displacements(folder / out / f"{name}.star", grid), truth)["error_px"]
        shutil.rmtree(folder / out)
        if not best or error < float(str(best["relion_error_px"])):
            setting = f"{patches}x{patches} patches, {group} frames"
            best = {"relion_error_px": error, "relion_setting": setting, "relion_cpu_s": cpu}
    return best


def row(case: str, seed: int, instruments: Path, work: Path) -> dict[str, object]:
    """What was measured on one movie."""
    stem = simulated(case, seed, instruments, work)
    with np.load(stem.with_suffix(".npz")) as file:
        known = {name: file[name] for name in ("truth", "gq", "dose")}
    # The simulator's first row is the one at the top, which TIFF has last for us and RELION.
    truth = known["truth"][:, ::-1] * np.array([1, -1])
    moved = parts(np.zeros_like(truth), truth)["error_px"]
    found = {"case": case, "seed": seed, "moved_px": moved, "version": version()}
    measured = {**ours(stem, known, truth), **relions(stem, known, truth)}
    numbers = {
        k: f"{v:.3f}" if isinstance(v, float) else v for k, v in {**found, **measured}.items()
    }
    return {name: numbers.get(name, "") for name in FIELDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for case in options.cases:
        for seed in options.seeds or CASES[case].seeds:
            if seed in CASES[case].seeds or options.seeds:
                made = row(case, seed, options.instruments.resolve(), options.work.resolve())
                keep(RESULTS, FIELDS, made, {"case": list(CASES), "seed": None})
                print(re.sub(r"[{}']", "", str(made)), flush=True)


if __name__ == "__main__":
    main()
