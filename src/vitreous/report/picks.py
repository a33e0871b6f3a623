"""Particles' places on a micrograph, as they are and with y inverted: to see which is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.io.mrc import open_stack
from vitreous.particles.files import read_particles
from vitreous.particles.image_files import find_file
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_coordinates

_SIDE = 800
"""Pixels of the picture's micrograph at most, along the longer side."""


def _binned(image: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "y x"], int]:
    """Image small enough for a page, and how many of its pixels one of these is."""
    step = max(1, -(-max(image.shape) // _SIDE))
    height, width = (side // step * step for side in image.shape)
    parts = image[:height, :width].reshape(height // step, step, width // step, step)
    return parts.mean(axis=(1, 3)), step


def _crowded(particles: ParticleSet) -> tuple[str, np.ndarray]:
    """Micrograph with the most particles, and their rows."""
    names = particles.required(ParticleSet.micrograph, "give particles with their micrographs")
    name = str(names.mode().sort()[0])
    return name, np.flatnonzero((names == name).to_numpy())


def write_picks(table: Path, out: Path) -> Path:
    """Draw one micrograph of a table twice, with its particles' places and with y inverted.

    Raises
    ------
    InputError
        Without places, or if the micrograph is not there as MRC.
    """
    from matplotlib.figure import Figure

    particles = read_particles(table, need_images=False)
    name, rows = _crowded(particles)
    path = find_file(name, table)
    if path is None:
        raise InputError(
            f"the micrograph {name} is not there to draw places on",
            where=table,
            hint="put it where the table says, or leave --picture out",
        )
    image = open_stack(path).read(np.array([0]))[0]
    small, step = _binned(image)
    x, y = read_coordinates(particles)[rows].T / step
    low, high = np.percentile(small, (2, 98))
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    panels = (("as they are", y), ("y inverted", image.shape[0] / step - y))
    for axes, (title, place) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.imshow(small, cmap="gray", vmin=low, vmax=high, origin="lower")
        axes.scatter(x, place, s=60, facecolors="none", edgecolors="tab:red", linewidths=0.8)
        axes.set(title=f"{title}: {path.name}", xticks=[], yticks=[])
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return out
