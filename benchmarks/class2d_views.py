"""Class averages of apoferritin beside projections of its model down the 4-, 3- and 2-fold axes.

    python benchmarks/class2d_views.py JOB --model MODEL.pdb

``JOB`` is a folder of ``vitreous class2d`` of particles of the model, whose axes lie along x, y and
z.  Averages and projections are cut at 12 A; what is alike all round is taken off, as it is the
same in all views.  What is told of an axis is the highest correlation of its projection, turned,
mirrored and shifted, with a class of 20 particles or more.  A job is a row of
benchmarks/results/class2d_views.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import gemmi
import numpy as np
from scipy import ndimage

from vitreous.io.mrc import open_stack

RESULTS = Path(__file__).parent / "results" / "class2d_views.csv"
LIMIT, RADIUS, SAMPLES = 12.0, 65.0, (24, 120)
"""Angstrom; radii and angles that images are compared at."""

AXES = {"fourfold": [0, 0, 1], "threefold": [1, 1, 1], "twofold": [1, 1, 0]}
FEWEST = 20


def atoms(path: Path) -> np.ndarray:
    """Places of all atoms about their centre."""
    model = gemmi.read_structure(str(path))[0]
    found = np.array([atom.atom.pos.tolist() for atom in model.all()])
    return found - found.mean(axis=0)


def projected(places: np.ndarray, axis: np.ndarray, box: int, pixel: float) -> np.ndarray:
    """Atoms counted in the pixels that they are seen in."""
    z = axis / np.linalg.norm(axis)
    x = np.cross(z, [0.3, 0.5, 0.8])
    x /= np.linalg.norm(x)
    edge = (np.arange(box + 1) - box / 2 - 0.5) * pixel
    return np.histogram2d(places @ np.cross(z, x), places @ x, bins=(edge, edge))[0]


def angular(image: np.ndarray, pixel: float) -> np.ndarray:
    """Transform over the angle of an image cut at the limit, of length 1, its round part off."""
    box = len(image)
    k = np.hypot(np.fft.fftfreq(box, pixel)[:, None], np.fft.fftfreq(box, pixel))
    cut = np.fft.ifft2(np.fft.fft2(image) * np.exp(-((k * LIMIT) ** 2) / 4) * (k < 1 / LIMIT)).real
    radius = np.linspace(0, RADIUS / pixel, SAMPLES[0])[:, None]
    angle = 2 * np.pi * np.arange(SAMPLES[1]) / SAMPLES[1]
    at = [radius * np.sin(angle) + box // 2, radius * np.cos(angle) + box // 2]
    rings = ndimage.map_coordinates(cut, at, order=1) * np.sqrt(radius)
    rings -= rings.mean(axis=1, keepdims=True)
    return np.fft.fft(rings / np.sqrt((rings**2).sum()), axis=1)


def fits(average: np.ndarray, views: np.ndarray, pixel: float) -> np.ndarray:
    """Best correlation with each view, or its mirror image, over rotation and shifts of a pixel."""
    best = np.full(len(views), -1.0)
    for shift in np.ndindex(3, 3):
        moved = angular(np.roll(average, np.array(shift) - 1, (0, 1)), pixel)
        for one in (moved, moved.conj()):
            turned = np.fft.ifft((one * views.conj()).sum(axis=1), axis=1).real
            best = np.maximum(best, turned.max(axis=1))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    result = json.loads((given.job / "result.json").read_text())
    pixel, places = result["input"]["pixel_size"], atoms(given.model)
    averages = open_stack(given.job / "class_averages.mrcs")
    box, sizes = result["input"]["box"], np.array([c["particles"] for c in result["classes"]])
    axes = np.array(list(AXES.values()))
    views = np.stack([angular(projected(places, axis, box, pixel), pixel) for axis in axes])
    row = {
        "particles": int(sizes.sum()),
        "classes": len(sizes),
        "largest": round(float(sizes.max() / sizes.sum()), 3),
        "starved": result["starved"],
        "held_out_nats": round(result["held_out_evidence"], 1),
    }
    large = np.flatnonzero(sizes >= FEWEST)
    found = np.stack([fits(average, views, pixel) for average in averages.read(large)])
    row |= dict(zip(AXES, found.max(axis=0).round(2).tolist(), strict=True))
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row)


if __name__ == "__main__":
    main()
