"""CTF estimation on simulated micrographs: errors, and whether the standard errors are true.

    python benchmarks/ctf_estimation.py --instruments FOLDER --model MODEL \
        [--cases plain plate tilted ...] [--side 2048] [--micrographs 20] [--first-seed 3000]

``FOLDER`` of the instruments holds an independent simulator (moviesim.py): RNA polymerase II in ice
with electron scattering factors, damage and counting noise at 40 electrons a square angstrom.  Here
the specimen may be tilted, and its ice be thicker on one side by half: the image is blended from
those of defoci 30 A apart.  A row of benchmarks/results/ctf_estimation.csv for each case has the
errors (root mean square; astigmatism as a vector), the share of the truths within 90 % intervals,
and CPU seconds.  The model was set on seeds 1000 to 1019 and mended after 2000 to 2019, so others
are run.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from machine import version
from rows import keep
from scipy import fft

from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.estimate import Estimate, Search, estimate_ctf

RESULTS = Path(__file__).parent / "results" / "ctf_estimation.csv"
FIELDS = (
    *("case", "side", "micrographs", "defocus_rms_A", "defocus_max_A", "astigmatism_rms_A"),
    *("phase_rms_rad", "within_90_percent", "tilt_rms_deg", "tilts_found", "cpu_s", "version"),
)
PIXEL, DOSE, MARGIN = 1.4, 40.0, 64
OPTICS = Optics(300.0, 2.7, 0.1)


@dataclass(frozen=True)
class Case:
    """What is simulated.

    Attributes
    ----------
    plate : bool
        A phase plate of 0.2 to 0.8 pi.
    tilt : float
        Degrees.
    ice_gradient : bool
        Ice of 225 to 375 A from one side to the other.
    particles : int
        On a micrograph of 2048 pixels.
    """

    plate: bool = False
    tilt: float = 0.0
    ice_gradient: bool = False
    particles: int = 150


CASES = {
    "plain": Case(),
    "plate": Case(plate=True),
    "tilted": Case(tilt=5.0, ice_gradient=True),
    "steep": Case(tilt=30.0),
    "empty": Case(particles=0),
}


@dataclass(frozen=True)
class Truth:
    """What a micrograph was simulated with: angstrom, radians; the defocus of its middle."""

    parameters: np.ndarray
    phase: float
    gradient: np.ndarray


def drawn(case: Case, rng: np.random.Generator) -> Truth:
    mean, half = rng.uniform(7000, 25000), rng.uniform(25, 450)
    turn, around = rng.uniform(0, 2 * math.pi, 2)
    slope = math.tan(math.radians(case.tilt))
    return Truth(
        np.array([mean, half * math.cos(turn), half * math.sin(turn)]),
        rng.uniform(0.2, 0.8) * math.pi if case.plate else 0.0,
        slope * np.array([math.cos(around), math.sin(around)]),
    )


def objects(
    sim: ModuleType, atoms: tuple[np.ndarray, np.ndarray], side: int, count: int, seed: int
) -> np.ndarray:
    """Phase of molecules at random places and orientations."""
    from scipy.spatial.transform import Rotation

    rng, box = np.random.default_rng(seed), int(2 * np.ceil(130 / PIXEL))
    image, turns = np.zeros((side, side)), Rotation.random(max(count, 1), random_state=seed)
    for turn, (y, x) in zip(turns, rng.integers(0, side - box, (count, 2)), strict=False):
        image[y : y + box, x : x + box] += sim.project(*atoms, turn.as_matrix(), box, PIXEL, 0, 0)
    return image


def simulate(
    sim: ModuleType, atoms: tuple[np.ndarray, np.ndarray], case: Case, side: int, seed: int
) -> tuple[np.ndarray, Truth]:
    """Counts of a micrograph, and what it was made with."""
    rng = np.random.default_rng(seed)
    truth, whole = drawn(case, rng), side + 2 * MARGIN
    mean, cosine, sine = truth.parameters
    half, angle = math.hypot(cosine, sine), math.degrees(math.atan2(sine, cosine)) / 2
    count = round(case.particles * (side / 2048) ** 2)
    frequency2 = sim.ctf2d((whole, whole), PIXEL, mean, mean, 0)[1]
    k = np.sqrt(frequency2)
    critical = np.where(k > 0, 0.245 * np.maximum(k, 1e-6) ** -1.665 + 2.81, 1e6)
    damage = 2 * critical / DOSE * (1 - np.exp(-0.5 * DOSE / critical))
    moved = np.maximum(DOSE * 2 * math.pi**2 * frequency2, 1e-6)
    blurred = np.sqrt(2 * (moved - 1 + np.exp(-moved)) / moved**2)
    axis = (np.arange(whole) - whole / 2) * PIXEL
    plane = truth.gradient[0] * axis[None] + truth.gradient[1] * axis[:, None]
    thickness = 300 * (1 + 0.5 * axis[None] / axis.max() * case.ice_gradient) + 0 * axis[:, None]
    white = fft.rfft2(rng.standard_normal((whole, whole)) * np.sqrt(thickness / 300))
    wave = fft.rfft2(objects(sim, atoms, whole, count, seed)) * damage
    wave += white * np.sqrt(sim.ice_psd(frequency2, 300) / PIXEL**2) * blurred
    wave *= -2 * np.exp(-60 / 4 * frequency2)
    steps = max(1, math.ceil((plane.max() - plane.min()) / 30))
    levels = np.linspace(plane.min(), plane.max(), steps + 1) if steps > 1 else np.zeros(1)
    signal = np.zeros((whole, whole))
    for level in levels:
        u, v = mean + half + level, mean - half + level
        ctf = sim.ctf2d((whole, whole), PIXEL, u, v, angle, ps=truth.phase)[0]
        share = 1.0
        if steps > 1:
            share = np.maximum(1 - np.abs(plane - level) / (levels[1] - levels[0]), 0)
        signal += share * fft.irfft2(wave * ctf, s=(whole, whole))
    inside = slice(MARGIN, -MARGIN)
    contrast = np.clip(1 + signal[inside, inside], 0.02, None)
    absorbed = np.exp(-thickness[inside, inside] / 3000)
    return rng.poisson(DOSE * PIXEL**2 * contrast * absorbed).astype(np.float32), truth


def row_of(case: str, side: int, pairs: list[tuple[Estimate, Truth, float]]) -> dict[str, object]:
    """Errors and coverage of some micrographs."""
    errors = np.array([e.parameters[:3] - t.parameters for e, t, _ in pairs])
    inside = [
        np.abs(e.parameters[:3] - t.parameters) <= e.half_widths(0.9)[:3] for e, t, _ in pairs
    ]
    row: dict[str, object] = {
        "case": case,
        "side": side,
        "micrographs": len(pairs),
        "defocus_rms_A": float(np.sqrt((errors[:, 0] ** 2).mean())),
        "defocus_max_A": float(np.abs(errors[:, 0]).max()),
        "astigmatism_rms_A": float(np.sqrt((errors[:, 1:] ** 2).sum(axis=1).mean())),
        "cpu_s": float(np.median([seconds for *_, seconds in pairs])),
        "version": version(),
    }
    if CASES[case].plate:
        phases = np.array([e.parameters[3] - t.phase for e, t, _ in pairs])
        phases = (phases + math.pi / 2) % math.pi - math.pi / 2
        row["phase_rms_rad"] = float(np.sqrt((phases**2).mean()))
        inside += [
            abs(p) <= e.half_widths(0.9)[3:] for p, (e, _, _) in zip(phases, pairs, strict=True)
        ]
    row["within_90_percent"] = float(100 * np.concatenate(inside).mean())
    found = [(e.tilt, t) for e, t, _ in pairs if e.tilt is not None]
    row["tilts_found"] = f"{sum(tilt.supported for tilt, _ in found)}/{len(pairs)}"
    if CASES[case].tilt:
        off = [np.hypot(*(tilt.gradient - t.gradient)) for tilt, t in found]
        row["tilt_rms_deg"] = math.degrees(math.sqrt(np.mean(np.square(off))))
    return row


def estimated(
    image: np.ndarray, pixel: float, optics: Optics, plate: bool
) -> tuple[Estimate, float]:
    began = time.process_time()
    found = estimate_ctf(image, pixel, optics, Search(plate=plate))
    return found, time.process_time() - began


def simulated_rows(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    sys.path.insert(0, str(options.instruments))
    sim = importlib.import_module("moviesim")
    atoms = sim.atoms(str(options.model))
    for name in options.cases:
        pairs = []
        for seed in range(options.first_seed, options.first_seed + options.micrographs):
            image, truth = simulate(sim, atoms, CASES[name], options.side, seed)
            pairs.append((*estimated(image, PIXEL, OPTICS, CASES[name].plate), truth))
        yield row_of(name, options.side, [(e, t, s) for e, s, t in pairs])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="atoms of the particles")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--micrographs", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=3000)
    for row in simulated_rows(parser.parse_args()):
        print(row)
        keep(RESULTS, FIELDS, row, {"case": tuple(CASES), "side": None})
