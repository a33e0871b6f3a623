"""Picks of simulated micrographs, 30 % of them junk of four kinds, extracted as particles.

    python benchmarks/junk_picks.py --instruments FOLDER --model MODEL --out FOLDER \
        [--micrographs 60] [--seed 0]

``FOLDER`` of the instruments holds micsim.py, an independent simulator of micrographs: electron
scattering factors, excluded solvent, ice with its structure factor, damage, counts.  A micrograph
gets single particles, blobs of ice and clusters of particles; every third an edge of carbon.  Picks
are single particles (label 0), ice (1), the edge (2), places 60 to 110 A off a particle (3) and
clusters (4).  Labels go to labels.npy, in the order of particles.star.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
from scipy import fft
from scipy.spatial.transform import Rotation

from vitreous.io.mrc import stack_writer
from vitreous.io.star import StarBlock, write_star

SIDE, PIXEL, MARGIN = 1024, 1.4, 64
WINDOW, BOX = 180, 64
DOSE, B_FACTOR, ICE = 40.0, 60.0, 300.0
PARTICLE, ICE_BLOB, EDGE, OFF_CENTRE, CLUSTER = range(5)
GOOD, BLOBS, OFF, CLUSTERS, ON_EDGE = 26, 3, 3, 2, 9
"""Picks of a micrograph; of each cluster there are two."""


@dataclass(frozen=True)
class Micrograph:
    counts: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    turns: np.ndarray
    defocus: tuple[float, float, float]


class Scene:
    """The projected phase of a micrograph, object by object."""

    def __init__(self, sim: ModuleType, model: Path, rng: np.random.Generator):
        self.sim, self.rng, self.atoms = sim, rng, sim.atoms(str(model))
        self.phase = np.zeros((SIDE + 2 * MARGIN,) * 2)
        y, x = np.mgrid[: len(self.phase), : len(self.phase)] - MARGIN
        self.y, self.x = y, x
        self.taken: list[tuple[np.ndarray, float]] = []

    def place(self, apart: float, border: float = 90.0) -> np.ndarray:
        """A place so far (pixels) from all that is there, or somewhat nearer where it is full."""
        while True:
            for _ in range(2000):
                found = self.rng.uniform(border, SIDE - border, 2)
                if all(np.hypot(*(found - q)) > apart + r for q, r in self.taken):
                    return found
            apart *= 0.9

    def particle(self, at: np.ndarray) -> np.ndarray:
        """Put a particle in a random orientation there."""
        turn, box = Rotation.random(random_state=self.rng.integers(2**31)).as_matrix(), 186
        place = at + MARGIN
        whole = np.round(place).astype(int)
        image = self.sim.project(*self.atoms, turn, box, PIXEL, *(place - whole))
        x, y = whole - box // 2
        if min(x, y) >= 0 and max(x, y) + box <= len(self.phase):
            self.phase[y : y + box, x : x + box] += image
        return turn

    def blob(self, at: np.ndarray, radius: float) -> None:
        """Ice, thick in the middle."""
        angle = np.arctan2(self.y - at[1], self.x - at[0])
        wave = 1 + 0.25 * np.sin(3 * angle + self.rng.uniform(0, 6))
        r = np.hypot(self.y - at[1], self.x - at[0]) * wave / radius
        self.phase += 0.35 * np.sqrt(np.clip(1 - r**2, 0, 1))

    def edge(self) -> np.ndarray:
        """Carbon beyond a line; places along it."""
        angle, offset = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(-150, 150)
        normal = np.array([np.cos(angle), np.sin(angle)])
        along = np.array([-normal[1], normal[0]])
        distance = (self.x - SIDE / 2) * normal[0] + (self.y - SIDE / 2) * normal[1] - offset
        self.phase += 0.5 * np.clip(distance / 12 + 0.5, 0, 1)
        steps = self.rng.uniform(-400, 400, 3 * ON_EDGE)[:, None]
        found = SIDE / 2 + offset * normal + steps * along
        found = found + self.rng.normal(size=found.shape) * 8
        inside = ((found > 95) & (found < SIDE - 95)).all(axis=1)
        return found[inside][:ON_EDGE]


def exposed(scene: Scene, defocus: tuple[float, float, float]) -> np.ndarray:
    """Counts: the object seen through lens, ice and damage, as micsim.py has them."""
    sim, shape = scene.sim, scene.phase.shape
    ctf, k2 = sim.ctf2d(shape, PIXEL, *defocus)
    k = np.sqrt(k2)
    half = np.where(k > 0, 0.245 * np.maximum(k, 1e-6) ** -1.665 + 2.81, 1e6)
    damage = 2 * half / DOSE * (1 - np.exp(-0.5 * DOSE / half))
    t = DOSE * 2 * np.pi**2 * k2
    moved = np.where(t > 1e-6, 2 * (t - 1 + np.exp(-t)) / np.maximum(t, 1e-6) ** 2, 1.0)
    ice = fft.rfft2(scene.rng.standard_normal(shape))
    ice = ice * np.sqrt(sim.ice_psd(k2, ICE) / PIXEL**2 * moved)
    seen = -2 * ctf * np.exp(-B_FACTOR / 4 * k2) * (fft.rfft2(scene.phase) * damage + ice)
    contrast = fft.irfft2(seen, s=shape)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return scene.rng.poisson(DOSE * PIXEL**2 * np.clip(1 + contrast, 0.02, None))


def micrograph(sim: ModuleType, model: Path, seed: int) -> Micrograph:
    rng = np.random.default_rng(seed)
    scene = Scene(sim, model, rng)
    picks: list[tuple[int, np.ndarray]] = []
    turns: list[np.ndarray] = []
    edge = scene.edge() if seed % 3 == 0 else np.zeros((0, 2))
    picks += [(EDGE, place) for place in edge]
    scene.taken += [(place, 60.0) for place in edge]
    for _ in range(BLOBS):
        place, radius = scene.place(70), rng.uniform(60, 180) / PIXEL
        scene.blob(place, radius)
        scene.taken.append((place, min(radius, 90.0)))
        picks.append((ICE_BLOB, place + rng.normal(size=2) * 10))
    for _ in range(CLUSTERS):
        place = scene.place(90)
        scene.taken.append((place, 70.0))
        for turn in rng.uniform(0, 2 * np.pi) + np.arange(4) * np.pi / 2:
            reach = rng.uniform(35, 75)
            scene.particle(place + reach * np.array([np.cos(turn), np.sin(turn)]))
        picks += [(CLUSTER, place + rng.normal(size=2) * 15) for _ in range(2)]
    singles = []
    for _ in range(GOOD + OFF):
        place = scene.place(90)
        scene.taken.append((place, 10.0))
        singles.append((place, scene.particle(place)))
    for place, turn in singles[:GOOD]:
        turns.append(turn)
        picks.append((PARTICLE, place + rng.normal(size=2) * 2))
    for place, _ in singles[GOOD:]:
        angle, off = rng.uniform(0, 2 * np.pi), rng.uniform(60, 110) / PIXEL
        picks.append((OFF_CENTRE, place + off * np.array([np.cos(angle), np.sin(angle)])))
    low, high = 10000.0, 22000.0
    middle = rng.uniform(low, high)
    defocus = (middle + 150, middle - 150, rng.uniform(0, 180))
    labels = np.array([label for label, _ in picks])
    places = np.array([place for _, place in picks])
    return Micrograph(exposed(scene, defocus), places, labels, np.array(turns), defocus)


def extracted(one: Micrograph) -> Iterator[np.ndarray]:
    """Windows, made smaller in Fourier space, normalised, white on black."""
    half = BOX // 2
    y, x = np.mgrid[:BOX, :BOX] - half
    outside = np.hypot(x, y) > 0.45 * BOX
    for place in one.places:
        rows, columns = (
            np.clip(np.arange(WINDOW) + round(c) - WINDOW // 2, 0, SIDE - 1) for c in place[::-1]
        )
        spectrum = fft.fftshift(fft.fft2(one.counts[np.ix_(rows, columns)].astype(float)))
        middle = WINDOW // 2
        small = spectrum[middle - half : middle + half, middle - half : middle + half]
        image = fft.ifft2(fft.ifftshift(small)).real
        ramp = np.stack([x[outside], y[outside], np.ones(outside.sum())], axis=1)
        tilt = np.linalg.lstsq(ramp, image[outside], rcond=None)[0]
        image = image - tilt[0] * x - tilt[1] * y - tilt[2]
        yield (-image / image[outside].std()).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("instruments", "model", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--micrographs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.path.insert(0, str(given.instruments))
    import micsim

    given.out.mkdir(parents=True, exist_ok=True)
    images, rows, labels = [], [], []
    for number in range(given.micrographs):
        one = micrograph(micsim, given.model, given.seed * 1000 + number)
        images += list(extracted(one))
        labels.append(one.labels)
        for place in one.places:
            rows.append((f"mic{number:03d}.mrc", *place, *one.defocus))
        print(number, len(images), flush=True)
    with stack_writer(given.out / "particles.mrcs", BOX, len(images), PIXEL * WINDOW / BOX) as file:
        file.append(np.stack(images))
    names = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY")
    names += ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.all().cast(pl.String))
    stack = [f"{n + 1:06d}@particles.mrcs" for n in range(len(images))]
    frame = frame.with_columns(rlnImageName=pl.Series(stack), rlnOpticsGroup=pl.lit("1"))
    optics = {
        "rlnOpticsGroup": "1",
        "rlnOpticsGroupName": "simulated",
        "rlnVoltage": "300",
        "rlnSphericalAberration": "2.7",
        "rlnAmplitudeContrast": "0.1",
        "rlnImagePixelSize": f"{PIXEL * WINDOW / BOX}",
        "rlnImageSize": f"{BOX}",
        "rlnImageDimensionality": "2",
    }
    table = pl.DataFrame({name: [value] for name, value in optics.items()})
    write_star(
        given.out / "particles.star", [StarBlock("optics", table), StarBlock("particles", frame)]
    )
    np.save(given.out / "labels.npy", np.concatenate(labels))


if __name__ == "__main__":
    main()
