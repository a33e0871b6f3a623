"""Projections of a map at the particles' poses, with their CTF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.images import defocus_of, optics_of
from vitreous.imaging.ctf import Defocus, Optics
from vitreous.imaging.project import FourierCube
from vitreous.imaging.simulate import Views, clean_images
from vitreous.ops.cubes import read
from vitreous.particles.grid import Grid
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import Poses

_PIXELS = 1 << 22
"""Pixels of the images that are projected at once."""


def batch_size(box: int) -> int:
    """Images of a box that are dealt with at once."""
    return max(1, _PIXELS // box**2)


@dataclass(frozen=True)
class Projector:
    """Particles whose images are predicted from a map.

    Attributes
    ----------
    table : ParticleSet
    poses : Poses
    grid : Grid
        Of the map.
    ctf : bool
        Apply the CTF.
    phase_flipped : bool
    """

    table: ParticleSet
    poses: Poses
    grid: Grid
    ctf: bool
    phase_flipped: bool

    def __call__(self, cube: FourierCube, rows: Int[np.ndarray, " m"]) -> Float[Tensor, "m n n"]:
        """Noise-free images of some particles in boxes of one size, on the cube's device."""
        groups = self.table.group[rows]
        box = self.table.optics[groups[0]].box
        images = torch.empty(len(rows), box, box, device=cube.data.device)
        for number in np.unique(groups):
            here = np.flatnonzero(groups == number)
            group = self.table.optics[number]
            optics = optics_of(group) if self.ctf else Optics(group.voltage, 0.0, 1.0)
            images[here] = clean_images(
                cube,
                self._views(rows[here], group.pixel_size, cube.data.device),
                optics,
                box,
                group.pixel_size,
                steps=self.steps(group),
                read=read,
            )
        return images

    def steps(self, group: OpticsGroup) -> float:
        """Frequency steps of the map in one of a group's images."""
        own = Grid(group.box, group.pixel_size)
        return 1.0 if own.like(self.grid) else self.grid.field / own.field

    def _views(self, rows: Int[np.ndarray, " m"], pixel_size: float, device: torch.device) -> Views:
        # Without defocus, and all contrast from amplitude, the CTF is one.
        defocus = (
            defocus_of(self.table, rows, phase_flipped=self.phase_flipped)
            if self.ctf
            else Defocus(*torch.zeros(4, len(rows)))
        )
        some = Poses(self.poses.angles[rows], self.poses.origins[rows])
        origins = torch.from_numpy(some.origins / pixel_size).float()
        return Views(torch.from_numpy(some.matrices), origins, defocus.to(device))
