"""Particles of several kinds whose labels are known, and what a classification made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from vitreous.config.classify import Classify3dConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.phantom import residues
from vitreous.io.mrc import stack_writer
from vitreous.io.star import read_star, write_star
from vitreous.jobs.simulate import simulate_from
from vitreous.math.gaussians import gaussian_sum
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore

BOX, PIXEL = 32, 8.0
COUNTS = (180, 120)
MASK = 200.0


def density(kind: int, box: int = BOX, pixel_size: float = PIXEL) -> torch.Tensor:
    """The built-in molecule, or (1) the same with one of its domains elsewhere."""
    positions = residues()
    domain = np.linalg.norm(positions - [44, 10, -8], axis=1) < 22
    positions = positions + kind * domain[:, None] * np.array([-30, -25, 45])
    return gaussian_sum(positions, np.ones(len(positions)), 6.4, box, pixel_size)


def stack(
    folder: Path,
    counts: tuple[int, ...],
    noise: int = 0,
    made: Callable[[int], torch.Tensor] = density,
    *,
    snr: float = 0.6,
    seed: int = 0,
) -> Path:
    """Particles of each kind, one after the other, and then images of noise alone."""
    images, frames = [], []
    for kind, count in enumerate(counts):
        config = SimulateConfig(
            Path("-"), out=folder / f"kind{kind}", n=count, snr=snr, seed=seed + kind
        )
        star = simulate_from(lambda kind=kind: (made(kind), PIXEL), config, ignore)
        images.append(open_images(read_particles(star)).read(np.arange(count)))
        blocks = read_star(star)
        frames.append(blocks["particles"].frame)
    images.append(np.random.default_rng(9).normal(size=(noise, BOX, BOX)).astype(np.float32))
    every = np.concatenate(images)
    with stack_writer(folder / "all.mrcs", BOX, len(every), PIXEL) as file:
        file.append(every)
    names = pl.Series([f"{number:06d}@all.mrcs" for number in range(1, len(every) + 1)])
    frame = pl.concat([*frames, frames[0].head(noise)]).with_columns(rlnImageName=names)
    particles = blocks["particles"].with_frame(frame)
    write_star(folder / "all.star", (blocks | {"particles": particles}).values())
    return folder / "all.star"


@dataclass(frozen=True)
class Case:
    star: Path
    references: tuple[Path, Path]

    def config(self, out: Path, **options) -> Classify3dConfig:
        given = {"reference": self.references[:1], "classes": 2, "resolution_limit": 20.0}
        return Classify3dConfig(self.star, out=out, **given | {"mask_diameter": MASK} | options)


def frame_of(job: Path) -> pl.DataFrame:
    return read_star(job / "particles.star")["particles"].frame


def classes_of(job: Path) -> np.ndarray:
    return frame_of(job)["rlnClassNumber"].cast(pl.Int64).to_numpy()


def right(classes: np.ndarray) -> float:
    """Share of the labels that are right, whichever way the two classes are numbered."""
    truth = 1 + np.repeat([0, 1], COUNTS)
    share = float((classes == truth).mean())
    return max(share, 1 - share)
