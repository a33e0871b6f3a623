"""What refinement and reconstruction say of input that does not belong together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated
from scipy.spatial.transform import Rotation

from vitreous.config.maps import ReconstructConfig, SymmetryConfig
from vitreous.config.refine import RefineConfig
from vitreous.errors import InputError
from vitreous.imaging.filters import low_pass
from vitreous.imaging.phantom import built_in_phantom, symmetric_residues
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.maps.symmetry import run_symmetry
from vitreous.jobs.refine.begin import begin
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.symmetry import point_group
from vitreous.schedules.refine.context import Begun

BOX, PIXEL = 32, 8.0


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("few") / "data", 80, BOX, PIXEL, snr=0.5)


def begun(star: Path, reference: Path | None = None, **options: object) -> Begun:
    reference = reference or star.parent / "truth.mrc"
    out = star.parent / "out"
    return begin(
        RefineConfig(
            star, reference=reference, out=out, mask_diameter=200.0, check=False, **options
        )
    )


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def d2_map(path: Path, turn: Rotation | None = None) -> Path:
    places = symmetric_residues("D2")
    places = places if turn is None else turn.apply(places)
    volume = gaussian_sum(places, np.ones(len(places)), 7.0, BOX, PIXEL)
    write_map(path, volume.numpy(), PIXEL)
    return path


@pytest.mark.parametrize(
    ("box", "pixel", "words"),
    [
        (24, PIXEL, r"mask.mrc: has a box of 24 px, but .*particles.star one of 32 px; give"),
        (BOX, 4.0, r"mask.mrc: has pixels of 4 A, but .*particles.star of 8 A; give"),
    ],
)
def test_a_mask_on_another_grid_than_the_particles(
    star: Path, tmp_path: Path, box: int, pixel: float, words: str
) -> None:
    write_map(tmp_path / "mask.mrc", np.ones((box,) * 3, np.float32), pixel)
    # The reference has a grid of its own, and is not what the mask must fit.
    write_map(tmp_path / "reference.mrc", built_in_phantom(48, 5.0).numpy(), 5.0)
    with pytest.raises(InputError, match=words):
        begun(star, tmp_path / "reference.mrc", mask=tmp_path / "mask.mrc")


def test_a_reference_with_another_pixel_size_is_brought_to_scale(
    star: Path, tmp_path: Path
) -> None:
    write_map(tmp_path / "fine.mrc", built_in_phantom(64, 4.0).numpy(), 4.0)
    write_map(tmp_path / "wrong.mrc", built_in_phantom(BOX, PIXEL).numpy(), 2 * PIXEL)
    right, fine, wrong = (
        begun(star, reference)
        for reference in (None, tmp_path / "fine.mrc", tmp_path / "wrong.mrc")
    )
    for job, found in ((fine, "64 px of 4 A"), (wrong, "32 px of 16 A")):
        (said,) = (w for w in job.warnings if "brought to their grid" in w)
        assert found in said and "32 px of 8 A" in said and "its header's pixel size" in said
    right, fine, wrong = (low_pass(job.reference, PIXEL, 40.0) for job in (right, fine, wrong))
    assert correlation(right, fine) > 0.99
    assert correlation(right, wrong) < 0.9


@pytest.mark.slow
def test_axes_off_are_told_and_what_is_offered_mends_them(star: Path, tmp_path: Path) -> None:
    tilted = d2_map(tmp_path / "tilted.mrc", Rotation.from_rotvec([35, 50, 20], degrees=True))
    words = r"tilted.mrc: does not have the symmetry D2 about the axes.*--align D2"
    with pytest.raises(InputError, match=words):
        begun(star, tilted, symmetry="D2")
    found = run_symmetry(SymmetryConfig(tilted, align="D2", mask_diameter=200.0))
    aligned = begun(star, found.aligned, symmetry="D2").reference
    # The axes of D2 are of one kind: the map may lie on them in any order.
    orders = [symmetric_residues("D2") @ turn.T for turn in point_group("O").numpy()]
    maps = [gaussian_sum(places, np.ones(len(places)), 12.0, BOX, PIXEL) for places in orders]
    assert max(correlation(volume, aligned) for volume in maps) > 0.9


def test_one_axis_in_its_place_does_not_hide_the_others(star: Path, tmp_path: Path) -> None:
    def spun(angle: float) -> Path:
        return d2_map(tmp_path / f"{angle}.mrc", Rotation.from_euler("z", angle, degrees=True))

    with pytest.raises(InputError, match="does not have the symmetry D2"):
        begun(star, spun(25), symmetry="D2")
    little, straight = (
        [w for w in begun(star, spun(angle), symmetry="D2").warnings if "off the axes" in w]
        for angle in (12, 0)
    )
    assert not straight
    assert "vitreous symmetry" in little[0] and "--align D2" in little[0]


def test_few_particles_are_told(star: Path, tmp_path: Path) -> None:
    (said,) = (w for w in begun(star).warnings if "fewer than 100" in w)
    assert said.startswith("80 particles")
    job = run_reconstruct(ReconstructConfig(star, out=tmp_path / "job"))
    assert said in json.loads((job / "result.json").read_text())["warnings"]
    more = simulated(tmp_path / "more", 100, BOX, PIXEL, snr=0.5)
    assert not [w for w in begun(more).warnings if "fewer than 100" in w]
