"""Images of a thick object, in which every height has a defocus of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from star_samples import particle_blocks

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.ctf import Optics, ctf_phase, electron_wavelength
from vitreous.imaging.project import image_frequencies
from vitreous.imaging.simulate import Views
from vitreous.io.mrc import stack_writer
from vitreous.io.star import write_star
from vitreous.jobs.simulate import random_poses
from vitreous.math.fourier import frequency_radius, to_real
from vitreous.math.gaussians import gaussian_sum
from vitreous.reconstruct.backproject import PosedImages

BOX, PIXEL, VOLTAGE, WIDTH = 48, 2.0, 0.3, 1.3
FIELD = BOX * PIXEL
DIAMETER = 0.7 * FIELD


@dataclass(frozen=True)
class Thick:
    """Images of Gaussians, each with the defocus of its own height."""

    volume: torch.Tensor
    images: torch.Tensor
    views: Views
    config: SimulateConfig

    def posed(self) -> PosedImages:
        v = self.views
        optics = Optics(VOLTAGE, 0.0, 0.1)
        return PosedImages(self.images, v.matrices, v.origins, v.defocus, optics)

    def written(self, folder: Path, noise: float = 0.0) -> Path:
        """STAR file of the images, in noise of a standard deviation."""
        generator = torch.Generator().manual_seed(1)
        images = self.images + noise * torch.randn(self.images.shape, generator=generator)
        with stack_writer(folder / "particles.mrcs", BOX, self.config.n, PIXEL) as stack:
            stack.append(images.numpy())
        write_star(folder / "p.star", particle_blocks(self.config, self.views, BOX, PIXEL))
        return folder / "p.star"


def thick_object(folder: Path, symmetry: np.ndarray | None = None) -> Thick:
    """Gaussians at random in a ball, and at all turns (turns, 3, 3) of a point group."""
    config = SimulateConfig(
        Path("x"), out=folder, n=400, defocus_range=(3e3, 1e4), voltage=VOLTAGE, cs=0.0
    )
    turns = np.eye(3)[None] if symmetry is None else symmetry
    rng = np.random.default_rng(3)
    places = rng.normal(size=(150 // len(turns), 3))
    places *= (
        0.34
        * FIELD
        * rng.uniform(size=(len(places), 1)) ** (1 / 3)
        / np.linalg.norm(places, axis=1, keepdims=True)
    )
    places = np.concatenate([places @ turn.T for turn in turns])
    volume = gaussian_sum(places, np.ones(len(places)), WIDTH, BOX, PIXEL).float()
    views = random_poses(config)
    inside = frequency_radius(BOX, 2) < BOX // 2 - 1
    k = (image_frequencies(BOX) / FIELD)[inside]
    k2, wavelength = (k**2).sum(-1), electron_wavelength(VOLTAGE)
    spectrum = torch.zeros(config.n, BOX, BOX, dtype=torch.complex64)
    envelope = torch.exp(-2 * (math.pi * WIDTH) ** 2 * (k2 + (wavelength * k2 / 2) ** 2)) / BOX
    phase = ctf_phase(k, views.defocus, Optics(VOLTAGE, 0.0, 0.1))
    for image, matrix in enumerate(views.matrices):
        x, y, height = (torch.from_numpy(places) @ matrix.T).float().T[:, :, None]
        origin = views.origins[image] * PIXEL
        wave = 2 * math.pi * ((x - origin[0]) * k[:, 0] + (y - origin[1]) * k[:, 1])
        transfer = torch.sin(phase[image] - math.pi * wavelength * height * k2)
        spectrum[image, inside] = (torch.polar(transfer, -wave)).sum(0) * envelope
    return Thick(volume, to_real(spectrum, 2), views, config)
