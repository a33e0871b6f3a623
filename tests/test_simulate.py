"""Simulated particles are what the options say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import simulated
from scipy.spatial.transform import Rotation

from vitreous.errors import OptionError
from vitreous.io.mrc import open_stack, read_map
from vitreous.io.star import read_star
from vitreous.particles.columns import numbers


def pixels(star: Path) -> np.ndarray:
    stack = open_stack(star.with_suffix(".mrcs"))
    return stack.read(np.arange(stack.shape[0]))


def test_the_noise_has_variance_one_and_the_signal_the_snr(tmp_path: Path) -> None:
    loud = pixels(simulated(tmp_path / "loud", 200, snr=0.5, seed=1))
    quiet = pixels(simulated(tmp_path / "quiet", 200, snr=1e-6, seed=1))
    assert quiet.var() == pytest.approx(1, rel=0.02)
    # The same seed draws the same noise, so the difference is the signal.
    signal = (loud - quiet).var(axis=(1, 2)).mean()
    assert signal == pytest.approx(0.5, rel=0.02)


def test_a_seed_fixes_every_bit(tmp_path: Path) -> None:
    one, same, other = (
        simulated(tmp_path / name, 20, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
    assert np.array_equal(pixels(one), pixels(same))
    assert not np.array_equal(pixels(one), pixels(other))


def test_views_shifts_and_defoci_follow_their_options(tmp_path: Path) -> None:
    star = simulated(
        tmp_path / "p",
        2000,
        views="preferred",
        shift=2.0,
        defocus_range=(9e3, 12e3),
        pixel_size=8.0,
    )
    block = read_star(star)["particles"]
    tilt = numbers(block, "rlnAngleTilt", star)
    from_axis = np.minimum(tilt, 180 - tilt)
    # 85 % in a half-normal of 15 degrees, of which 95 % lie within 30; 15 % uniform, 13 % within.
    assert (from_axis < 30).mean() == pytest.approx(0.85 * 0.954 + 0.15 * 0.134, abs=0.03)
    assert 8.0 * 1.9 < np.abs(numbers(block, "rlnOriginXAngst", star)).max() <= 8.0 * 2
    mean = (numbers(block, "rlnDefocusU", star) + numbers(block, "rlnDefocusV", star)) / 2
    assert mean.min() >= 9e3 and mean.max() <= 12e3
    uniform = simulated(tmp_path / "u", 2000)
    cosines = np.cos(np.radians(numbers(read_star(uniform)["particles"], "rlnAngleTilt", uniform)))
    np.testing.assert_allclose(np.sort(cosines), np.linspace(-1, 1, 2000), atol=0.06)


def test_a_cs_file_beside_holds_the_same_images_and_poses(tmp_path: Path) -> None:
    star = simulated(tmp_path / "both", 30, write="star,cs", seed=4)
    dataset = pytest.importorskip("cryosparc.dataset")
    found = dataset.Dataset.load(star.with_suffix(".cs"))
    block = read_star(star)["particles"]
    names = [
        f"{n + 1:06d}@{path}" for n, path in zip(found["blob/idx"], found["blob/path"], strict=True)
    ]
    assert names == block.frame["rlnImageName"].to_list()
    turns = Rotation.from_rotvec(found["alignments3D/pose"])
    angles = [numbers(block, f"rlnAngle{name}", star) for name in ("Rot", "Tilt", "Psi")]
    truth = Rotation.from_euler("ZYZ", np.stack(angles, axis=1), degrees=True)
    assert (turns.inv() * truth).magnitude().max() < 1e-5
    defocus = numbers(block, "rlnDefocusU", star)
    np.testing.assert_allclose(found["ctf/df1_A"], defocus, rtol=1e-6)


def test_the_truth_is_at_the_scale_of_the_images(tmp_path: Path) -> None:
    star = simulated(tmp_path / "s", 400, snr=1.0, defocus_range=(2e4, 2e4), astigmatism=0.0)
    truth, pixel = read_map(star.with_name("truth.mrc"))
    assert (truth.shape[0], pixel) == (32, pytest.approx(8.0))
    images = pixels(star)
    assert images.var() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize(
    "options", [{"snr": 0.0}, {"defocus_range": (2e4, 1e4)}, {"shift": -1.0}, {"n": 0}]
)
def test_bad_options(tmp_path: Path, options: dict) -> None:
    with pytest.raises(OptionError):
        simulated(tmp_path / "b", **{"n": 5, **options})
    assert not (tmp_path / "b").exists()
