"""The memory that a search will take, reckoned before it begins."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import torch

from vitreous.engine.free_memory import free_memory, held_memory
from vitreous.engine.grid_pass import GATHERED
from vitreous.engine.images import Frame
from vitreous.engine.maps import PADDING
from vitreous.engine.reader import READ_BATCH
from vitreous.engine.searches.tiles import TILE_SCORES, Tiling
from vitreous.engine.shards import Shards
from vitreous.errors import InputError, OptionError
from vitreous.imaging.polar import PolarGrid
from vitreous.imaging.project import cube_side
from vitreous.math.so3 import order_for, orientations_at
from vitreous.ops.compiler import COMPILED
from vitreous.ops.precision import product_dtype
from vitreous.ops.threads import workers_on
from vitreous.particles.loader import Room
from vitreous.particles.particle_set import ParticleSet
from vitreous.runs.ranks import local_ranks

_LIBRARIES = 0.45e9
"""Bytes of Python and what it loads."""

_COMPILED = 0.25e9
"""Bytes of compiled kernels and what they need."""

_RESERVE = 0.1
"""Share of the free memory that a job leaves by default."""

IMAGES: Final = "images"
"""Name of the images of a search, or a refinement, among what takes memory."""

ON_HOST: Final = ("libraries and tables", "compiled code", "reading")
"""Parts of what a job takes that lie on the host, whatever its device."""

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
    images : dict
        Bytes that all images would take, by purpose.
    scratch : Path or None
        Folder for images that memory does not hold.
    """

    parts: dict[str, float]
    free: int | None
    tiling: Tiling
    images: dict[str, float]
    scratch: Path | None = None

    @property
    def least(self) -> float:
        """Bytes that are needed beside the images."""
        return sum(self.parts.values())

    @property
    def held(self) -> dict[str, float]:
        """Bytes that images get, by purpose, each in proportion to what all would take."""
        wanted = sum(self.images.values())
        left = math.inf if self.free is None else max(0.0, self.free - self.least)
        share = min(1.0, left / max(wanted, 1.0))
        return {purpose: share * size for purpose, size in self.images.items()}

    @property
    def needed(self) -> float:
        """Bytes in all."""
        return self.least + sum(self.held.values())

    def room(self, purpose: str, *, spread: bool = True) -> Room:
        """Where the images for a purpose are kept: each rank's own, or on each rank all."""
        return Room(self.held[purpose], self.scratch, spread)

    def record(self) -> dict[str, Any]:
        """For the log: gigabytes."""
        return {
            "needed_GB": round(self.needed / 1e9, 2),
            "free_GB": None if self.free is None else round(self.free / 1e9, 2),
            "tile_scores": self.tiling.scores,
            "products": str(self.tiling.dtype).removeprefix("torch."),
            "parts_GB": {
                name: round(size / 1e9, 3) for name, size in (self.parts | self.held).items()
            },
            "all_images_GB": round(sum(self.images.values()) / 1e9, 3),
        }

    def check(self, particles: Path) -> None:
        """Require all but the images to fit: these are read again where memory does not hold them.

        Raises
        ------
        InputError
            With what takes most.
        OptionError
            For a scratch folder that is not there or cannot be written to.
        """
        if self.scratch is not None and not _is_writable_folder(self.scratch):
            raise OptionError(
                f"{self.scratch} is no folder that can be written to",
                where="--scratch",
                hint="make it, or name another",
            )
        if self.free is None or self.least <= self.free:
            return
        most = max(self.parts, key=lambda name: self.parts[name])
        raise InputError(
            f"the search needs {self.least / 1e9:.1f} GB of memory beside the images, and may take "
            f"{self.free / 1e9:.1f} GB; most of it ({self.parts[most] / 1e9:.1f} GB) is for the "
            f"{most}",
            where=particles,
            hint="raise --memory, or take fewer classes or a coarser resolution",
        )


def _is_writable_folder(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


class MemoryOptions(Protocol):
    """Options of a job that say what it may take."""

    @property
    def memory(self) -> float | None: ...  # noqa: D102

    @property
    def scratch(self) -> Path | None: ...  # noqa: D102

    @property
    def ranks(self) -> int: ...  # noqa: D102


class SearchOptions(MemoryOptions, Protocol):
    """The same of a search of all orientations."""

    @property
    def precision(self) -> Literal["auto", "float32", "bfloat16"]: ...  # noqa: D102


def usable(options: MemoryOptions, device: torch.device) -> int | None:
    """Bytes that a job may take: as its options say, of what is free; None if nothing tells.

    Raises
    ------
    OptionError
        For a limit that is not above 0.
    """
    free, given = free_memory(device), options.memory
    if free is not None and device.type == "cpu":
        free //= max(local_ranks(), options.ranks)
    if given is None:
        return None if free is None else int((1 - _RESERVE) * free)
    if given <= 0:
        raise OptionError(
            f"{given:g} GB is no memory to work in", where="--memory", hint="give a number above 0"
        )
    return int(given * 1e9 if free is None else min(given * 1e9, free))


def half_planes(particles: int, shells: int) -> float:
    """Bytes of complex64 coefficients on half-planes."""
    return 8.0 * particles * math.pi / 2 * shells**2


def half_cube(shells: int) -> int:
    """Voxels of the half of a Fourier cube that slices of so many shells go into."""
    side = cube_side(shells + 1, PADDING)
    return side**2 * (side // 2 + 1)


def search_memory(
    options: SearchOptions,
    classes: int,
    step: float,
    table: ParticleSet,
    frame: Frame,
    operators: int,
    device: torch.device,
    *,
    spread: bool = True,
) -> MemoryPlan:
    """Reckon what a search of so many maps holds at its finest angular step in degrees.

    Each rank holds its own images if they are ``spread``, else all.
    """
    free, polar, workers = usable(options, device), frame.polar, workers_on(device)
    tile = TILE_SCORES if device.type == "cpu" else min(_LARGEST_TILE, (free or 0) // 200)
    samples = polar.rings * polar.half
    directions = orientations_at(step, operators) / (6 * 2 ** order_for(step))
    # Residues are filled up to the fullest: about a quarter more than the bands themselves.
    coefficients = classes * directions * 2.5 * sum(band + 1 for band in polar.bands)
    shards = Shards.of(len(table), options.ranks)
    parts = {
        "libraries and tables": max(_LIBRARIES, held_memory()),
        # what oneDNN makes of the products' shapes, hundreds of them, and keeps
        "compiled code": _COMPILED,
        "reading": _reading(table) + _matrices(samples, frame, 0),
        # those searched together: copied, thinned, centred, and their residuals
        "portion": 36.0 * min(len(table), GATHERED) * samples,
        # slices and their powers (1.5 sets), operands (3, filled up 6), sums (3 for each worker)
        "references": 4.0 * (8 + 3 * (workers + 1)) * coefficients,
        # running sums, those of a pass, and copies on the way to the map
        "maps": 12.0 * (5 + shards.sums_at_once) * classes * half_cube(polar.rings),
        # products of every worker, and the images' spectra beside them
        "products": 4.0 * (1 + classes) * tile * workers,
    }
    # complex64 samples, and their power on every ring
    images = {IMAGES: 8.0 * (len(shards.own_rows) if spread else len(table)) * samples}
    tiling = Tiling(tile, product_dtype(device, options.precision))
    return MemoryPlan(parts, free, tiling, images, options.scratch)


def _reading(table: ParticleSet) -> float:
    """Bytes of images as read, normalised, transformed and cropped."""
    return 4.0 * READ_BATCH * 5 * max(group.box for group in table.optics) ** 2


def _matrices(samples: int, frame: Frame, others: int) -> float:
    """Bytes of the matrices from pixels to rings, the last of them while it is made.

    Images need one where nothing is compiled.
    """
    kept = others + (not COMPILED)
    return 8.0 * (kept + 0.5) * samples * frame.box**2 if kept else 0.0


def class2d_memory(
    options: SearchOptions, classes: int, table: ParticleSet, frame: Frame, device: torch.device
) -> MemoryPlan:
    """Reckon what a search of so many class averages holds."""
    free, polar, workers = usable(options, device), frame.polar, workers_on(device)
    tile = TILE_SCORES if device.type == "cpu" else min(_LARGEST_TILE, (free or 0) // 200)
    samples = polar.rings * polar.half
    shards = Shards.of(len(table), options.ranks)
    coefficients = classes * 2.5 * sum(band + 1 for band in polar.bands)
    parts = {
        "libraries and tables": max(_LIBRARIES, held_memory()),
        "compiled code": _COMPILED,
        # as a search of all orientations has them; averages have a matrix of their own
        "reading": _reading(table) + _matrices(samples, frame, 1),
        "portion": 36.0 * min(len(table), GATHERED) * samples,
        # averages, running sums, those of a pass, and copies on the way to pixels
        "classes": 12.0 * (8 + shards.sums_at_once) * classes * (samples + frame.box**2)
        + 4.0 * (8 + 3 * (workers + 1)) * coefficients,
        # posteriors of a half in the last pass, in two orders, and the classes that are tried
        "assignments": 6.0 * len(table) * classes,
        "products": 8.0 * tile * workers,
    }
    images = {IMAGES: 8.0 * len(shards.own_rows) * samples}
    tiling = Tiling(tile, product_dtype(device, options.precision))
    return MemoryPlan(parts, free, tiling, images, options.scratch)


def refine_plan(
    options: MemoryOptions,
    table: ParticleSet,
    shells: int,
    device: torch.device,
    searched: PolarGrid | None = None,
) -> MemoryPlan:
    """Reckon what a refinement will hold at its fullest, in the last pass.

    The images are then on half-planes out to so many shells; a search of all orientations before
    that has them on rings.
    """
    shards = Shards.of(len(table), options.ranks)
    parts = {
        "libraries and tables": max(_LIBRARIES, held_memory()),
        "compiled code": _COMPILED,
        "reading": _reading(table),
        # a reference, a half's sums, and what solves them or makes the next reference's cube
        "maps": (8.0 * 5 + 12.0 * (shards.sums_at_once - 1)) * half_cube(shells),
    }
    own = len(shards.own_rows)
    on_rings = 0 if searched is None else 8.0 * own * searched.rings * searched.half
    images = {IMAGES: max(half_planes(own, shells), on_rings)}
    return MemoryPlan(parts, usable(options, device), Tiling(), images, options.scratch)
