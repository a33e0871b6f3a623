"""Write a simulated particle stack with its STAR file, true poses and the map behind it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.simulate import SimulateConfig
from vitreous.conventions import MIN_BOX
from vitreous.errors import OptionError
from vitreous.imaging.ctf import Defocus, Optics
from vitreous.imaging.project import map_to_cube
from vitreous.imaging.simulate import (
    Views,
    clean_images,
    mean_signal_variance,
    noisy,
    random_matrices,
)
from vitreous.io.models import density, is_model, read_model
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.math.fourier import crop_or_pad, good_box, resample_map
from vitreous.math.rotations import matrix_to_euler
from vitreous.particles.conversion import as_cryosparc
from vitreous.particles.files import formats_beside, new_particles
from vitreous.particles.image_files import ImageFiles
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import Poses
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic_on, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record

_BATCH = 256
_MICROGRAPH_PARTICLES, _MICROGRAPH_PIXELS = 100, 4096


def _check(config: SimulateConfig) -> None:
    low, high = config.defocus_range
    for bad, what, where in (
        (config.n < 1, f"{config.n} particles, expected at least 1", "--n"),
        (not config.snr > 0, f"{config.snr} is not more than 0", "--snr"),
        (not low <= high, f"{low:g} to {high:g} is no range", "--defocus-range"),
        (config.shift < 0, f"{config.shift} is less than 0", "--shift"),
        (
            not 0 <= config.amplitude_contrast <= 1,
            f"{config.amplitude_contrast} is outside 0 to 1",
            "--amplitude-contrast",
        ),
        (
            config.pixel_size is not None and not config.pixel_size > 0,
            f"{config.pixel_size} is not more than 0",
            "--pixel-size",
        ),
        (
            config.box is not None and (config.box % 2 == 1 or config.box < MIN_BOX),
            f"a box of {config.box} px, expected an even one of at least {MIN_BOX}",
            "--box",
        ),
    ):
        if bad:
            raise OptionError(what, where=where, hint="see vitreous simulate --help")


def _volume(config: SimulateConfig) -> tuple[Float[Tensor, "n n n"], float]:
    """Density of the model, or the map brought to the box and pixel size asked for."""
    if is_model(config.model):
        model = read_model(config.model)
        pixel = config.pixel_size or 4.0
        box = config.box or good_box(max(MIN_BOX, math.ceil(1.5 * model.diameter / pixel)))
        return torch.from_numpy(density(model, box, pixel)), pixel
    array, own = read_map(config.model)
    volume = torch.from_numpy(array)
    side = max(volume.shape)
    volume = crop_or_pad(volume, side + side % 2, 3)
    pixel = config.pixel_size or own
    if abs(pixel / own - 1) > 1e-3:
        # Padding first makes the field of view a whole number of new pixels, nearly.
        target = round(volume.shape[-1] * own / pixel / 2) * 2
        volume = resample_map(volume, target)
        pixel = own * side / target if abs(own * side / target / pixel - 1) > 1e-3 else pixel
    return crop_or_pad(volume, config.box or int(volume.shape[-1]), 3), pixel


def random_poses(config: SimulateConfig) -> Views:
    """Orientations, shifts and defoci drawn with the seed."""
    rng = np.random.default_rng(config.seed)
    matrices = random_matrices(config.n, config.views, rng)
    origins = rng.uniform(-config.shift, config.shift, size=(config.n, 2))
    mean = rng.uniform(*config.defocus_range, size=config.n)
    angle = rng.uniform(0, 180, size=config.n)
    half = config.astigmatism / 2
    columns = (mean + half, mean - half, angle, np.zeros(config.n))
    defocus = Defocus(*(torch.from_numpy(c).float() for c in columns))
    return Views(matrices, torch.from_numpy(origins).float(), defocus)


def described(
    config: SimulateConfig, views: Views, box: int, pixel_size: float, path: Path
) -> ParticleSet:
    """Particles with the true poses, to be written to a path beside their images."""
    rng = np.random.default_rng([config.seed, 1])
    origins = views.origins.double().numpy() * pixel_size
    row, defocus = np.arange(config.n), views.defocus
    x, y = rng.uniform(box, _MICROGRAPH_PIXELS - box, size=(2, config.n))
    lens = (config.voltage, config.cs, config.amplitude_contrast)
    optics = OpticsGroup(1, "simulated", pixel_size, box, *lens)
    files = ImageFiles.of_stack(Path("particles.mrcs"), config.n)
    particles = new_particles(path, (optics,), np.zeros(config.n, dtype=np.int32), files)
    micrographs = [f"mic{i // _MICROGRAPH_PARTICLES + 1:04d}.mrc" for i in row]
    return particles.with_fields(
        micrograph=pl.Series(micrographs),
        x=x,
        y=y,
        defocus_u=defocus.u.double().numpy(),
        defocus_v=defocus.v.double().numpy(),
        defocus_angle=defocus.angle.double().numpy(),
        **Poses(matrix_to_euler(views.matrices).numpy(), origins).fields,
        half=1 + row % 2,
    )


def simulate_particles(
    volume: Float[Tensor, "n n n"], pixel_size: float, config: SimulateConfig, job: JobFolder
) -> None:
    """Fill a folder with particles of a map, made on its device."""
    box = int(volume.shape[-1])
    optics = Optics(config.voltage, config.cs, config.amplitude_contrast)
    views = random_poses(config)
    cube = map_to_cube(volume[None], box // 2)
    there = views.to(volume.device)
    variance = mean_signal_variance(cube, there, optics, box, pixel_size)
    generator = torch.Generator().manual_seed(config.seed)
    with stack_writer(job.path / "particles.mrcs", box, config.n, pixel_size) as stack:
        for start in range(0, config.n, _BATCH):
            part = there.take(slice(start, start + _BATCH))
            clean = clean_images(cube, part, optics, box, pixel_size)
            stack.append(noisy(clean, variance, config.snr, generator).cpu().numpy())
            done = min(start + _BATCH, config.n)
            job.tell(
                {"event": "progress", "stage": "simulating", "iteration": done, "of": config.n}
            )
    scaled = volume * (config.snr / variance) ** 0.5
    write_map(job.path / "truth.mrc", scaled.cpu().numpy(), pixel_size)
    star = job.path / "particles.star"
    particles = described(config, views, box, pixel_size, star)
    particles.written.write(star)
    for path in formats_beside(star, config.write)[1:]:
        as_cryosparc(particles, path).written.write(path)


def simulate_from(
    make_volume: Callable[[], tuple[Tensor, float]], config: SimulateConfig, on_event: OnEvent
) -> Path:
    """Simulate into a folder that holds nothing if anything fails."""
    _check(config)
    device = device_for(config.device)
    volume, pixel_size = make_volume()
    with deterministic_on(device), job_folder("simulate", config, on_event) as job:
        job.tell({"event": "start", "job": "simulate", "particles": config.n})
        simulate_particles(volume.to(device), pixel_size, config, job)
        write_record(job.path, {**job_record("simulate", config), "box": volume.shape[-1]})
        job.tell({"event": "done", "out": str(config.out)})
    return config.out / "particles.star"


def simulate(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    config: SimulateConfig,
    on_event: OnEvent = ignore,
) -> Path:
    """Simulate particle images of a map in memory, whose grid they have.

    Returns
    -------
    Path of the STAR file, as :func:`run_simulate`; ``config.model`` is not read.

    Raises
    ------
    VitreousError
        For options or a folder that cannot be used.
    """
    return simulate_from(lambda: (volume, pixel_size), config, on_event)


@on_its_threads
def run_simulate(config: SimulateConfig, on_event: OnEvent = ignore) -> Path:
    """Simulate particle images from a model or a map.

    Returns
    -------
    Path of the STAR file; beside it are the stack and truth.mrc, the map at the images' scale.

    Raises
    ------
    VitreousError
        For a model, options or a folder that cannot be used.
    """
    return simulate_from(lambda: _volume(config), config, on_event)
