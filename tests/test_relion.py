"""Conventions against RELION's own programs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated
from star_samples import particle_blocks

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.ctf import Defocus, Optics
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import map_to_cube
from vitreous.imaging.simulate import clean_images
from vitreous.io.mrc import read_map, write_map
from vitreous.io.star import StarBlock, write_star
from vitreous.jobs.simulate import random_poses
from vitreous.math.fourier import frequency_radius, to_fourier
from vitreous.math.rotations import euler_to_matrix
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.reconstruct.backproject import PosedImages, reconstruct_at_poses
from vitreous.validate.fsc import fsc, resolution_at

Find = Callable[[str], str]
BOX, PIXEL = 48, 5.0


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


def relion_reconstruct(relion: Find, star: Path) -> torch.Tensor:
    run(star.parent, relion("relion_reconstruct"), "--i", star.name, "--o", "rec.mrc", "--ctf")
    return torch.from_numpy(read_map(star.parent / "rec.mrc")[0])


def test_projection_with_ctf(relion: Find, tmp_path: Path) -> None:
    config = SimulateConfig(Path("x"), out=tmp_path, n=12, astigmatism=900.0)
    volume, views = built_in_phantom(BOX, PIXEL), random_poses(config)
    write_map(tmp_path / "map.mrc", volume.numpy(), PIXEL)
    optics_block, particles = particle_blocks(config, views, BOX, PIXEL)
    plate = np.linspace(0, 90, config.n)
    frame = particles.frame.with_columns(rlnPhaseShift=np.array([f"{p:.4f}" for p in plate]))
    write_star(tmp_path / "p.star", [optics_block, StarBlock("particles", frame)])
    command = "--i map.mrc --o out --ang p.star --ctf --pad 2 --angpix"
    run(tmp_path, relion("relion_project"), *command.split(), str(PIXEL))
    import mrcfile

    theirs = to_fourier(torch.from_numpy(mrcfile.read(tmp_path / "out.mrcs").copy()), 2)
    d = views.defocus
    shifted = Defocus(d.u, d.v, d.angle, torch.from_numpy(plate).float())
    posed = type(views)(views.matrices, views.origins, shifted)
    optics = Optics(config.voltage, config.cs, config.amplitude_contrast)
    ours = clean_images(map_to_cube(volume[None], BOX // 2), posed, optics, BOX, PIXEL)
    inside = frequency_radius(BOX, 2) <= 0.9 * BOX / 2
    difference = (to_fourier(ours, 2) - theirs)[:, inside]
    assert difference.norm() / theirs[:, inside].norm() < 0.02


def test_simulated_stack_reconstructs_in_relion_and_here(relion: Find, tmp_path: Path) -> None:
    star = simulated(tmp_path / "data", 1500, box=BOX, pixel_size=PIXEL, snr=0.3)
    truth = torch.from_numpy(read_map(star.parent / "truth.mrc")[0])
    theirs = relion_reconstruct(relion, star)
    curve = fsc(theirs, truth)
    assert (curve[1:8] > 0.99).all()
    assert (theirs * truth).sum() > 0

    table = read_particles(star)
    columns = (table.rot, table.tilt, table.psi, table.origin_x, table.origin_y)
    rot, tilt, psi, x, y = (torch.from_numpy(values.copy()) for values in columns)
    ctf = (table.defocus_u, table.defocus_v, table.defocus_angle, table.phase_shift)
    group = table.optics[0]
    posed = PosedImages(
        torch.from_numpy(open_images(table).read(np.arange(len(table)))),
        euler_to_matrix(rot, tilt, psi),
        torch.stack([x, y], dim=1).float() / PIXEL,
        Defocus(*(torch.from_numpy(np.array(c)).float() for c in ctf)),
        Optics(group.voltage, group.cs, group.amplitude_contrast),
    )
    ours = fsc(reconstruct_at_poses([posed], BOX, PIXEL), truth).numpy()
    shells = [
        BOX * PIXEL / (resolution_at(c, 0.5, BOX, PIXEL) or np.inf) for c in (ours, curve.numpy())
    ]
    assert shells[0] > shells[1] - 1


@pytest.mark.parametrize("tilt,magnification", [(8.0, None), (0.0, (1.06, 0.02, -0.01, 0.95))])
def test_relion_undoes_our_aberrations(
    relion: Find, tmp_path: Path, tilt: float, magnification: tuple[float, ...] | None
) -> None:
    box, pixel = 48, 2.0
    config = SimulateConfig(Path("x"), out=tmp_path, n=400, shift=0)
    volume, views = built_in_phantom(box, 4.0), random_poses(config)
    matrix = magnification or (1.0, 0.0, 0.0, 1.0)
    resolutions = {}
    for sign in (1, -1):
        inverse = np.linalg.inv(np.reshape(matrix, (2, 2))).ravel()
        applied = tuple(matrix if sign == 1 else inverse)
        optics = Optics(config.voltage, config.cs, 0.1, (sign * tilt, 0.0), applied)
        images = clean_images(map_to_cube(volume[None], box // 2), views, optics, box, pixel)
        from vitreous.io.mrc import stack_writer

        with stack_writer(tmp_path / "particles.mrcs", box, config.n, pixel) as stack:
            stack.append(images.numpy())
        optics_block, particles = particle_blocks(config, views, box, pixel)
        told = {"rlnBeamTiltX": tilt, "rlnBeamTiltY": 0.0}
        told |= {f"rlnMagMat{n}": m for n, m in zip(("00", "01", "10", "11"), matrix, strict=True)}
        frame = optics_block.frame.with_columns(**{k: np.array([str(v)]) for k, v in told.items()})
        write_star(tmp_path / "p.star", [optics_block.with_frame(frame), particles])
        curve = fsc(relion_reconstruct(relion, tmp_path / "p.star"), volume)
        resolutions[sign] = float(curve[box // 4 : box // 2 - 2].mean())
    assert resolutions[1] > resolutions[-1] + 0.05
    assert resolutions[1] > 0.9


@pytest.mark.parametrize("name", ["C5", "D2", "D7", "T", "O", "I1", "I2", "I3", "I4"])
def test_point_groups(relion: Find, tmp_path: Path, name: str) -> None:
    command = (relion("relion_refine"), "--sym", name, "--print_symmetry_ops")
    lines = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    rows = lines.splitlines()
    theirs = torch.tensor(
        [
            [[float(cell) for cell in rows[i + j].split()] for j in (1, 2, 3)]
            for i, row in enumerate(rows)
            if row.startswith(" R(")
        ],
        dtype=torch.float64,
    )
    ours = point_group(name)
    assert len(ours) == len(theirs)
    nearest = (theirs[:, None] - ours[None]).abs().amax(dim=(2, 3)).amin(dim=1)
    assert nearest.max() < 1e-4
