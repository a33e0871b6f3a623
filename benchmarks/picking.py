"""Picking on simulated micrographs: recall and precision at a false discovery rate.

    python benchmarks/picking.py --instruments FOLDER --model MODEL --diameter 150 [--apart 150]
        [--particles 60] [--mass 421] [--seed 4101]

``FOLDER`` holds an independent simulator (micsim.py), which draws micrographs of 1280 pixels with
contaminants at 0.8, 1.2, 1.6 and 2 micrometres of defocus.  Blobs are picked with the diameter as
the only input; a pick within 0.35 diameters of a particle, one each, is right.  A model of carbon
alpha atoms alone needs ``--mass``, that of the protein in kDa, to scatter as much.  A row of
benchmarks/results/picking.csv for each rate has recall and precision; seeds of 7, 2101 to
2103 and 3101 to 3103 were at hand when the picker was made, others were not.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from machine import version
from rows import keep

from vitreous.preprocessing.picking.decoys import false_discovery_rates
from vitreous.preprocessing.picking.pick import Sought, search

RESULTS = Path(__file__).parent / "results" / "picking.csv"
FIELDS = (
    *("model", "seed", "fdr", "diameter_A", "particles", "picks", "recall", "precision"),
    *("cpu_s", "version"),
)
MODELS = ("1y1v_polII_TFIIS", "4gxy_riboswitchRNA", "apoferritin_CA_sym_cryolike")
RATES = ("0.05", "0.1", "0.2")
PIXEL, ELECTRONS_A_KDA = 1.4, 217.0
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


def weigh(micsim: ModuleType, options: argparse.Namespace) -> None:
    """Let a model of carbon alpha atoms scatter as its protein does."""
    if options.mass is not None:
        places, scattering = micsim.atoms(str(options.model))
        factor = options.mass * ELECTRONS_A_KDA / scattering.sum()
        micsim._A[str(options.model)] = places, scattering * factor


def main(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(options.instruments))
    micsim = importlib.import_module("micsim")
    weigh(micsim, options)
    d = options.diameter
    sought = Sought(d, 0.7 * d, d, 0.6 * d, 0.0, True)
    found, truths, seconds = [], [], []
    for defocus in DEFOCI:
        image, truth = micsim.micrograph(
            n=1280,
            U=defocus + 100,
            V=defocus - 100,
            npart=options.particles,
            mind=options.apart,
            junk=3,
            seed=defocus + options.seed,
            model=str(options.model),
        )
        began = time.process_time()
        found.append(search(image, PIXEL, sought).dark)
        seconds.append(time.process_time() - began)
        truths.append(truth["coords"])
    for rate in map(float, RATES):
        rates = false_discovery_rates([one.evidence for one in found])
        kept = [one.places[r <= rate] for one, r in zip(found, rates, strict=True)]
        good = sum(right(k, t, 0.35 * d / PIXEL) for k, t in zip(kept, truths, strict=True))
        picks, every = sum(map(len, kept)), sum(map(len, truths))
        row = {
            "model": options.model.stem,
            "seed": options.seed,
            "fdr": rate,
            "diameter_A": d,
            "particles": every,
            "picks": picks,
            "recall": good / every,
            "precision": good / max(picks, 1),
            "cpu_s": float(np.median(seconds)),
            "version": version(),
        }
        print(row)
        keep(RESULTS, FIELDS, row, {"model": MODELS, "seed": None, "fdr": RATES})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--diameter", type=float, required=True)
    parser.add_argument("--apart", type=float, default=150.0)
    parser.add_argument("--particles", type=int, default=60)
    parser.add_argument("--mass", type=float, help="kDa")
    parser.add_argument("--seed", type=int, default=4101)
    main(parser.parse_args())
