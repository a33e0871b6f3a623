"""Symmetry imposed on particles at their poses: told where the molecule is not on its axes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vitreous.config.maps import ReconstructConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.phantom import symmetric_residues
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.simulate import simulate_from
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import matrix_to_euler, random_rotations
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.poses import Poses, read_poses
from vitreous.runs.folder import ignore

BOX, PIXEL, COUNT = 32, 7.5, 300
GROUPS = ["C3", "D2", "O"]


def posed(folder: Path, group: str, turn: np.ndarray) -> Path:
    """Particles of a molecule with a point group's symmetry, turned off its axes."""
    residues = symmetric_residues(group) @ turn.T
    density = gaussian_sum(residues, np.ones(len(residues)), 4.0, BOX, PIXEL)
    options = SimulateConfig(Path("model"), out=folder, n=COUNT, snr=0.2, seed=4)
    return simulate_from(lambda: (density, PIXEL), options, ignore)


def warned(star: Path, group: str, out: Path) -> bool:
    """Whether a reconstruction tells that the particles lack the symmetry imposed."""
    run_reconstruct(ReconstructConfig(star, out=out, symmetry=group, halves="none"))
    warnings = json.loads((out / "result.json").read_text())["warnings"]
    return any(f"do not have the symmetry {group}" in warning for warning in warnings)


def within_a_unit(star: Path, group: str) -> Path:
    """The same particles, each at the mate of its pose that looks most along one direction."""
    table = read_particles(star)
    poses = read_poses(table)
    mates = np.einsum("nij,sjk->nsik", poses.matrices, point_group(group).numpy())
    nearest = (mates[:, :, 2] @ np.array([0.3, 0.5, 0.8])).argmax(axis=1)
    chosen = torch.from_numpy(mates[np.arange(COUNT), nearest])
    target = star.with_name("unit.star")
    turned = Poses(matrix_to_euler(chosen).numpy(), poses.origins)
    write_particles(target, table.with_fields(**turned.fields))
    return target


@pytest.mark.parametrize("group", GROUPS)
def test_symmetric_particles_are_taken_as_they_are(group: str, tmp_path: Path) -> None:
    star = posed(tmp_path / "data", group, np.eye(3))
    assert not warned(star, group, tmp_path / "all")
    assert not warned(within_a_unit(star, group), group, tmp_path / "unit")


@pytest.mark.parametrize("group", GROUPS)
def test_particles_off_the_axes_are_told(group: str, tmp_path: Path) -> None:
    star = posed(tmp_path / "data", group, random_rotations(1, 3)[0].numpy())
    assert warned(star, group, tmp_path / "turned")
    assert not warned(star, "C1", tmp_path / "plain")


def test_particles_without_the_symmetry_are_told(tmp_path: Path) -> None:
    star = posed(tmp_path / "data", "C1", np.eye(3))
    assert warned(star, "D2", tmp_path / "job")
