"""Operations of a job counted before they are done, and what parts of a search count for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from vitreous.engine.images import Frame
from vitreous.engine.maps import PADDING
from vitreous.engine.shards import Shards
from vitreous.imaging.project import cube_side
from vitreous.particles.particle_set import ParticleSet

_SHARED = ("pixels", "ring_samples", "products", "slices", "derivatives", "placed")
"""Operations on images, which ranks share; each rank does the others all by itself."""

_BESIDE_RINGS = 14
"""Rings that the work on one orientation of an image is worth which does not depend on them:
fitted to iterations of 100 to 1,000 images and 5 to 20 rings."""


SHIFTS = 25
"""Shifts that an orientation of an image is tried at, as its speed is measured."""


@dataclass(frozen=True)
class Work:
    """How often each operation is done; as speeds, the seconds that one takes.

    Attributes
    ----------
    pixels : float
        Pixels of images read, normalised, cropped and masked.
    ring_samples : float
        Samples on rings times the edge of the working box: images taken to rings.
    products : float
        Rings (and 14) of images compared with one orientation of one map.
    slices : float
        Samples of slices compared with images, all shifts of a neighbourhood together.
    derivatives : float
        Samples of images whose poses are moved off the lattice.
    passes : float
        Passes over some particles, whatever their number.
    voxels : float
        Voxels of padded cubes that passes make of maps, fill and solve.
    halves : float
        Voxels of two half-maps that are compared, masked and filtered for the next pass.
    placed : float
        Samples of images put into a map at known poses.
    solved : float
        Voxels of padded cubes that such maps are solved from.
    judged : float
        Voxels of two half-maps that are masked and judged.
    alignments : float
        Maps laid on others over all rotations, one hand each.
    starting : float
        Programs started, and libraries loaded.
    """

    pixels: float = 0.0
    ring_samples: float = 0.0
    products: float = 0.0
    slices: float = 0.0
    derivatives: float = 0.0
    passes: float = 0.0
    voxels: float = 0.0
    halves: float = 0.0
    placed: float = 0.0
    solved: float = 0.0
    judged: float = 0.0
    alignments: float = 0.0
    starting: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Both done."""
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, count: float) -> Work:
        """The same done so often."""
        return Work(*(count * getattr(self, f.name) for f in fields(self)))

    def of_one_rank(self, shards: Shards) -> Work:
        """What the rank does that has most of the particles' shards."""
        share = len(shards.own) / shards.count
        return replace(self, **{name: share * getattr(self, name) for name in _SHARED})

    def seconds(self, speeds: Work) -> float:
        """Time that it takes where one of each operation takes ``speeds``."""
        return sum(getattr(self, f.name) * getattr(speeds, f.name) for f in fields(self))


def ring_products(images: float, orientations: float, rings: int, maps: int) -> Work:
    """Images compared with so many orientations of some maps, or class averages, on rings."""
    return Work(products=maps * images * orientations * (_BESIDE_RINGS + rings))


def ring_pass(images: float, orientations: float, rings: int, maps: int) -> Work:
    """A pass that compares images with so many orientations of some maps on rings."""
    voxels = float(maps * cube_side(rings + 1, PADDING) ** 3)
    return ring_products(images, orientations, rings, maps) + Work(passes=1, voxels=voxels)


def half_plane_samples(shells: float) -> float:
    """Samples of the half-plane out to a number of shells."""
    return math.pi / 2 * shells**2


def local_pass(images: float, turns: int, shells: int, maps: int) -> Work:
    """A pass that compares images with slices at so many turns round their places."""
    return Work(
        slices=maps * images * turns * half_plane_samples(shells),
        passes=1,
        voxels=float(maps * cube_side(shells + 1, PADDING) ** 3),
    )


def mean_box(table: ParticleSet) -> float:
    """Pixels along the edge of a table's images, such that their number of pixels is right."""
    sides = np.array([group.box for group in table.optics])
    return float(np.sqrt((sides[table.group] ** 2).mean()))


def read_on_rings(images: float, box: float, frame: Frame) -> Work:
    """Images of a box in pixels read and taken to a frame's rings."""
    samples = frame.polar.rings * frame.polar.half
    return Work(pixels=images * box**2, ring_samples=images * samples * frame.box)


def read_on_planes(images: float, box: float) -> Work:
    """Images of a box in pixels read and transformed."""
    return Work(pixels=images * box**2)
