"""The memory that a search will take, reckoned before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vitreous.errors import InputError
from vitreous.jobs.em.engine import GATHERED, PADDING
from vitreous.jobs.free_memory import free_memory
from vitreous.jobs.images import READ_BATCH, Frame
from vitreous.kernels.precision import product_dtype
from vitreous.kernels.threads import workers_on
from vitreous.math.so3 import order_for, orientations_at
from vitreous.particles.table import ParticleTable
from vitreous.physics.project import cube_side
from vitreous.search.tiles import TILE_SCORES, Tiling

_LIBRARIES = 0.45e9
"""Bytes of Python and what it loads."""

_COMPILED = 0.25e9
"""Bytes of compiled kernels and what they need."""

_LARGEST_TILE = 100_000_000
"""The most scores that a GPU is given at once."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a search needs and how it divides its work.

    Attributes
    ----------
    parts : dict
        Bytes by purpose.
    free : int or None
        Bytes to be had; None if the system does not say.
    tiling : Tiling
        How the search divides its products.
    """

    parts: dict[str, float]
    free: int | None
    tiling: Tiling

    @property
    def needed(self) -> float:
        """Bytes in all."""
        return sum(self.parts.values())

    def record(self) -> dict[str, Any]:
        """For the log: gigabytes."""
        return {
            "needed_GB": round(self.needed / 1e9, 2),
            "free_GB": None if self.free is None else round(self.free / 1e9, 2),
            "tile_scores": self.tiling.scores,
            "products": str(self.tiling.dtype).removeprefix("torch."),
            "parts_GB": {name: round(size / 1e9, 3) for name, size in self.parts.items()},
        }

    def check(self, particles: Path) -> None:
        """Require the job to fit.

        Raises
        ------
        InputError
            With what takes most.
        """
        if self.free is None or self.needed <= self.free:
            return
        most = max(self.parts, key=lambda name: self.parts[name])
        raise InputError(
            f"the search needs {self.needed / 1e9:.1f} GB of memory, {self.free / 1e9:.1f} GB are "
            f"free; most of it ({self.parts[most] / 1e9:.1f} GB) is for the {most}",
            where=particles,
            mend="take fewer particles or classes, or a coarser resolution",
        )


def half_planes(particles: int, shells: int) -> float:
    """Bytes of complex64 coefficients and float32 CTFs on half-planes."""
    return 12.0 * particles * math.pi / 2 * shells**2


def search_memory(
    classes: int,
    step: float,
    precision: Literal["auto", "float32", "bfloat16"],
    table: ParticleTable,
    frame: Frame,
    operators: int,
    device: torch.device,
) -> MemoryPlan:
    """Reckon what a search of so many maps holds at its finest angular step in degrees."""
    free, polar, workers = free_memory(device), frame.polar, workers_on(device)
    tile = TILE_SCORES if device.type == "cpu" else min(_LARGEST_TILE, (free or 0) // 200)
    samples = polar.rings * polar.half
    directions = orientations_at(step, operators) / (6 * 2 ** order_for(step))
    # Residues are filled up to the fullest: about a quarter more than the bands themselves.
    coefficients = classes * directions * 2.5 * sum(band + 1 for band in polar.bands)
    largest_box = max(group.box for group in table.optics)
    parts = {
        "libraries": _LIBRARIES,
        # complex64 samples and float32 CTFs
        "images": 12.0 * len(table) * samples,
        # what oneDNN makes of the products' shapes, hundreds of them, and keeps
        "compiled code": _COMPILED,
        # images as read, normalised, transformed and cropped; the matrix that takes them to rings
        "reading": 4.0 * (READ_BATCH * 6 * largest_box**2 + 4 * samples * frame.box**2),
        # those searched together: copied, thinned, centred, and their residuals
        "portion": 36.0 * min(len(table), GATHERED) * samples,
        # slices and their powers (1.5 sets), operands (3, filled up 6), sums (3 for each worker)
        "references": 4.0 * (8 + 3 * (workers + 1)) * coefficients,
        # running sums, those of a pass, and copies on the way to the map
        "maps": 12.0 * 6 * classes * cube_side(polar.rings + 1, PADDING) ** 3,
        # products of every worker, and the images' spectra beside them
        "products": 4.0 * (1 + classes) * tile * workers,
    }
    return MemoryPlan(parts, free, Tiling(tile, product_dtype(device, precision)))


def refine_plan(table: ParticleTable, shells: int, device: torch.device) -> MemoryPlan:
    """Reckon what a refinement will hold at its fullest, in the last pass."""
    largest_box = max(group.box for group in table.optics)
    parts = {
        "libraries": _LIBRARIES,
        "images": half_planes(len(table), shells),
        "compiled code": _COMPILED,
        "reading": 4.0 * READ_BATCH * 6 * largest_box**2,
        # references, sums of both halves and every worker, and copies on the way to the maps
        "maps": 12.0 * 8 * cube_side(shells + 1, PADDING) ** 3,
    }
    return MemoryPlan(parts, free_memory(device), Tiling())
