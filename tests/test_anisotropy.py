"""Conical FSC and the spread of views, against shapes and distributions in closed form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from half_map_samples import BOX, PIXEL, RADIUS, halves, white, written

from vitreous.config.maps import AnisotropyConfig
from vitreous.errors import VitreousError
from vitreous.imaging.masks import soft_sphere
from vitreous.jobs.maps.anisotropy import run_anisotropy, spread_of_views
from vitreous.math.fourier import frequency_radius, to_fourier, to_real
from vitreous.math.symmetry import point_group
from vitreous.report.html import write_report
from vitreous.validate.advice import advice, axis_in_words
from vitreous.validate.anisotropy import ConicalFsc, conical_fsc, sphericity
from vitreous.validate.fsc import fsc
from vitreous.validate.sampling import sampling

SIDE = 64
C1 = point_group("C1")


def missing_cone(half_angle: float, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """White signal in white noise, but noise only within a cone about z beyond shell 10."""
    axis = torch.arange(SIDE) - SIDE // 2
    radius = frequency_radius(SIDE, 3)
    inside = axis[:, None, None].abs() > radius * np.cos(np.radians(half_angle))
    kept = ~inside | (radius < 10)
    spectrum = to_fourier(white(SIDE, 1), 3) * kept
    first, second = (
        to_real(spectrum + noise * to_fourier(white(SIDE, seed), 3), 3) for seed in (2, 3)
    )
    return first, second


def even_views(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, count), np.degrees(np.arccos(rng.uniform(-1, 1, count)))


def views_at(tilt: float, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(seed).uniform(-180, 180, count), np.full(count, tilt)


def test_cone_that_holds_all_gives_the_shells() -> None:
    first, second = missing_cone(40.0)
    cones = conical_fsc(first, second, PIXEL, half_angle=90.0)
    expected = fsc(first, second).numpy()
    assert np.abs(cones.curves[:, 1:-1] - expected[1:-1]).max() < 0.005


def test_even_map_has_area_ratio_and_sphericity_near_one() -> None:
    mask = soft_sphere(BOX, RADIUS / PIXEL, 6)
    cones = conical_fsc(*(half * mask for half in halves()), PIXEL)
    assert cones.area_ratio > 0.9 and cones.sphericity > 0.98


def test_missing_cone_is_found() -> None:
    cones = conical_fsc(*missing_cone(45.0), PIXEL)
    width = SIDE * PIXEL
    tilt = np.degrees(np.arccos(np.abs(cones.axes[:, 2])))
    # Axes further than 20 degrees inside see nothing beyond shell 10, those outside all of it.
    assert np.abs(cones.limits[tilt < 20] * width - 10).max() < 1
    assert (cones.limits[tilt > 70] * width > SIDE // 2 - 1).all()
    height = 1 / (1 + 0.3**2)
    high = height * (SIDE / 2)
    assert cones.area_ratio == pytest.approx(10 * height / high, rel=0.2)
    assert cones.area_ratio < 0.5 and cones.sphericity < 0.95
    # The wider the cone, the worse.
    wider = conical_fsc(*missing_cone(60.0), PIXEL)
    assert wider.sphericity < cones.sphericity


@pytest.mark.parametrize("flat", [1.0, 0.7, 0.5])
def test_sphericity_of_an_ellipsoid(flat: float) -> None:
    axes = conical_fsc(white(16, 1), white(16, 2), 1.0).axes
    radii = 1 / np.linalg.norm(axes / [1, 1, flat], axis=1)
    e = np.sqrt(max(1 - flat**2, 1e-12))
    surface = 2 * np.pi * (1 + flat**2 / e * np.arctanh(e)) if flat < 1 else 4 * np.pi
    expected = np.pi ** (1 / 3) * (6 * 4 / 3 * np.pi * flat) ** (2 / 3) / surface
    assert sphericity(axes, radii) == pytest.approx(expected, rel=0.01)


def test_score_of_even_and_of_side_views() -> None:
    assert sampling(*even_views(5000), C1).score > 0.97
    side = sampling(*views_at(90.0, 5000), C1)
    assert side.score == pytest.approx(8 / np.pi**2, abs=0.02)  # 1 / slices goes as sin(tilt)
    # The number of particles makes no difference, but for chance.
    assert sampling(*views_at(90.0, 40000), C1).score == pytest.approx(side.score, abs=0.02)


@pytest.mark.parametrize("stage_tilt", [0.0, 30.0, 50.0])
def test_tilted_top_views_leave_a_cone_empty(stage_tilt: float) -> None:
    """Views at tilt T from z have no slice within 90 - T of z: 1 - sin T of all directions."""
    found = sampling(*views_at(0.0, 4000), C1, stage_tilt=stage_tilt)
    slab = 0.5 * 100 / 4000 + 0.05  # a slice's thickness, and the cells'
    assert found.empty == pytest.approx(1 - np.sin(np.radians(stage_tilt)), abs=slab)
    assert axis_in_words(found.emptiest) == "z" or stage_tilt == 0.0
    turned = sampling(*views_at(stage_tilt, 4000, seed=1), C1)
    assert turned.empty == pytest.approx(found.empty, abs=0.02)


def test_symmetry_fills_in() -> None:
    top = views_at(0.0, 2000)
    assert sampling(*top, point_group("D7")).empty > 0.9
    tilted = views_at(40.0, 2000)
    assert sampling(*tilted, point_group("O")).score > 0.75 > sampling(*tilted, C1).score


def cones_of(low: float, high: float) -> ConicalFsc:
    """Cones that reach shell ``high`` of 40 everywhere but about z, where it is ``low``."""
    axes = conical_fsc(white(16, 1), white(16, 2), 1.0).axes
    reach = np.where(np.abs(axes[:, 2]) > 0.9, low, high)
    return ConicalFsc(axes, (np.arange(41) <= reach[:, None]).astype(float), 80, 1.0)


def test_advice_follows_from_the_evidence() -> None:
    even, smeared = cones_of(30, 30), cones_of(8, 30)
    good = spread_of_views(*even_views(3000), "C1", 0)
    top = spread_of_views(*views_at(5.0, 3000), "C1", 0)
    assert "even enough" in advice(even, None)[0] and len(advice(even, None)) == 1
    alone = " ".join(advice(smeared, None))
    assert "along z" in alone and "--particles" in alone
    preferred = " ".join(advice(smeared, top))
    assert "Most particles are seen along z" in preferred
    assert "grid tilted by" in preferred
    junk = " ".join(advice(smeared, good))
    assert "cover Fourier space well" in junk and "Classify" in junk and "tilted" not in junk
    assert "does not suffer" in " ".join(advice(even, top))
    assert top.tilted[50.0].score > top.tilted[20.0].score > top.sampling.score


def test_axis_in_words() -> None:
    assert axis_in_words(np.array([0.0, 0.05, -0.99])) == "z"
    slanted = np.array([0.0, np.sin(np.radians(40)), np.cos(np.radians(40))])
    assert axis_in_words(-slanted) == "the axis at rot 90, tilt 40 degrees"


def test_job(tmp_path: Path) -> None:
    first, second = halves()
    maps = written(tmp_path, a=first, b=second)
    rot, tilt = views_at(10.0, 500)
    rows = "".join(f"{r:.3f} {t:.3f}\n" for r, t in zip(rot, tilt, strict=True))
    star = tmp_path / "particles.star"
    star.write_text(f"data_particles\n\nloop_\n_rlnAngleRot #1\n_rlnAngleTilt #2\n{rows}")
    config = AnisotropyConfig(maps["a"], maps["b"], out=tmp_path / "job", particles=star)
    job = run_anisotropy(config)
    found = json.loads((job / "result.json").read_text())
    assert found["cfar"] > 0.9 and not found["anisotropic"] and found["uneven"]
    assert found["views"]["n_particles"] == 500 and len(found["views"]["tilted"]) == 4
    assert np.array(found["conical_fsc"]["curves"]).shape == (192, BOX // 2 + 1)
    page = write_report(job).read_text()
    assert found["advice"][0] in page and "grid" in page
    star.write_text("data_particles\n\nloop_\n_rlnAngleRot #1\n1.0\n")
    with pytest.raises(VitreousError, match=r"particles.star: no particles with .*_rlnAngleTilt"):
        run_anisotropy(config)
    star.write_text("data_\n\nloop_\n_rlnAngleRot #1\n_rlnAngleTilt #2\n1.0 x\n")
    with pytest.raises(VitreousError, match="_rlnAngleTilt, row 1 holds 'x'"):
        run_anisotropy(config)
    with pytest.raises(VitreousError, match="--symmetry"):
        run_anisotropy(AnisotropyConfig(maps["a"], maps["b"], out=tmp_path / "x", symmetry="Q2"))
