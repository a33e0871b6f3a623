"""Picking on simulated micrographs: recall and precision at a false discovery rate.

    python benchmarks/picking.py --instruments FOLDER --model MODEL --diameter 150 [--apart 150]
        [--particles 60]

``FOLDER`` holds an independent simulator (micsim.py), which draws micrographs of 1280 pixels with
contaminants at 0.8, 1.2, 1.6 and 2 micrometres of defocus.  Blobs are picked with the diameter as
the only input; a pick within 0.35 diameters of a particle, one each, is right.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np

from vitreous.preprocessing.picking.decoys import false_discovery_rates
from vitreous.preprocessing.picking.pick import Sought, search

PIXEL = 1.4
DEFOCI = (8000, 12000, 16000, 20000)


def right(found: np.ndarray, truth: np.ndarray, reach: float) -> int:
    """Picks that have a particle of their own within reach."""
    free, count = list(range(len(truth))), 0
    for place in found:
        off = np.hypot(*(truth[free] - place).T)
        if len(free) and off.min() <= reach:
            free.pop(int(off.argmin()))
            count += 1
    return count


def main(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(options.instruments))
    simulate = importlib.import_module("micsim").micrograph
    d = options.diameter
    sought = Sought(d, 0.7 * d, d, 0.6 * d, 0.0, True)
    found, truths = [], []
    for defocus in DEFOCI:
        image, truth = simulate(
            n=1280,
            U=defocus + 100,
            V=defocus - 100,
            npart=options.particles,
            mind=options.apart,
            junk=3,
            seed=defocus + 7,
            model=str(options.model),
        )
        found.append(search(image, PIXEL, sought).dark)
        truths.append(truth["coords"])
    for rate in (0.05, 0.1, 0.2):
        rates = false_discovery_rates([one.evidence for one in found])
        kept = [one.places[r <= rate] for one, r in zip(found, rates, strict=True)]
        good = sum(right(k, t, 0.35 * d / PIXEL) for k, t in zip(kept, truths, strict=True))
        picks, every = sum(map(len, kept)), sum(map(len, truths))
        print(f"fdr {rate:g}: {picks} picks, recall {good / every:.3f}, "
              f"precision {good / max(picks, 1):.3f}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--diameter", type=float, required=True)
    parser.add_argument("--apart", type=float, default=150.0)
    parser.add_argument("--particles", type=int, default=60)
    main(parser.parse_args())
