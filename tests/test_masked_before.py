"""Half-maps that were masked before: found, and judged inside of that mask, or not at all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from half_map_samples import halves, white

from vitreous.config.maps import AnisotropyConfig, PostprocessConfig
from vitreous.config.volumes import FscConfig
from vitreous.errors import InputError
from vitreous.imaging.envelope import automatic_mask, mask_above
from vitreous.imaging.masks import soft_sphere
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.anisotropy import run_anisotropy
from vitreous.jobs.maps.half_maps import open_half_maps
from vitreous.jobs.maps.postprocess import run_postprocess
from vitreous.jobs.volumes.correlate import run_fsc
from vitreous.math.fourier import from_half_fourier, half_frequency_radius, to_half_fourier
from vitreous.math.gaussians import gaussian_sum
from vitreous.report.html import write_report
from vitreous.validate.fsc import dip_warnings, first_below, fsc, resolution_of_shell, rises_again
from vitreous.validate.half_maps import half_map_curves
from vitreous.validate.masked_before import masked_before

BOX, PIXEL, ENDS = 96, 3.0, 24.0
SHELL = BOX * PIXEL / ENDS
"""Last shell that holds any signal."""


@cache
def density() -> torch.Tensor:
    """Gaussians in an ellipsoid, with nothing beyond 24 A; standard deviation 1."""
    points = np.random.default_rng(7).uniform(-60, 60, (4000, 3))
    points = points[np.linalg.norm(points / [60, 45, 35], axis=1) < 1]
    spectrum = to_half_fourier(gaussian_sum(points, np.ones(len(points)), 2.5, BOX, PIXEL))
    volume = from_half_fourier(spectrum * (half_frequency_radius(BOX) <= SHELL))
    return volume / volume.std()


@cache
def masked_halves(noise: float, extend: float, edge: float) -> tuple[torch.Tensor, torch.Tensor]:
    mask = mask_above(density(), float(density().max()) * 0.15, extend, edge)
    first, second = ((density() + noise * white(BOX, seed)) * mask for seed in (1, 2))
    return first, second


def written(folder: Path, pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[Path, Path]:
    paths = folder / "half1.mrc", folder / "half2.mrc"
    for path, volume in zip(paths, pair, strict=True):
        write_map(path, volume.numpy(), PIXEL)
    return paths


@pytest.mark.parametrize("extend", [1.0, 4.0])
def test_no_more_is_claimed_than_there_is(tmp_path: Path, extend: float) -> None:
    pair = masked_halves(2.0, extend, 4.0)
    plain = automatic_mask(*pair, PIXEL)
    assert plain is not None
    before = half_map_curves(*pair, plain.mask)
    found = open_half_maps(*written(tmp_path, pair))
    curves = found.curves(0)
    assert found.masked_before is not None and "masked before" in found.mask.warnings[0]
    ends = first_below(curves.corrected, 0.143) - 1
    assert ends == 0 or SHELL - 2 <= ends <= SHELL + 2
    assert first_below(before.corrected, 0.143) - 1 > ends  # as it was judged without the check


def test_signal_that_dwarfs_the_noise_is_not_judged(tmp_path: Path) -> None:
    paths = written(tmp_path, masked_halves(0.1, 0.0, 2.0))
    job = run_postprocess(PostprocessConfig(*paths, out=tmp_path / "job"))
    result = json.loads((job / "result.json").read_text())
    assert result["mask"]["masked_before"] and result["resolution_0143"] is None
    assert any("not judged" in warning for warning in result["warnings"])
    write_report(job)
    assert "not judged" in (job / "report.html").read_text()


def test_the_edge_of_the_earlier_mask_is_left_out() -> None:
    radius, edge = 30, 8
    mask = soft_sphere(BOX, radius, edge)  # 1 to radius - edge / 2 or so, 0 beyond
    pair = [white(BOX, seed) * mask for seed in (1, 2)]
    found = masked_before(pair[0], pair[1])
    assert found is not None
    inside = found.inner(6.0)
    assert float(mask[inside > 0].min()) > 0.85
    assert float((inside > 0.5).sum()) > 0.3 * float((mask > 0.99).sum())
    assert found.share == pytest.approx(float((mask > 0.01).float().mean()), rel=0.1)


def test_unmasked_halves_are_left_alone() -> None:
    assert masked_before(*halves()) is None
    ball = (soft_sphere(BOX, BOX / 2 - 1, 1) > 0.5).float()  # as reconstructions may end
    assert masked_before(white(BOX, 1) * ball, white(BOX, 2) * ball) is None


def test_a_wide_mask_before_changes_nothing() -> None:
    """A sphere far from the molecule, such as RELION's of the particles' diameter."""
    pair = [(density() + 2 * white(BOX, seed)) * soft_sphere(BOX, 38, 3) for seed in (1, 2)]
    found = masked_before(pair[0], pair[1])
    mask = automatic_mask(pair[0], pair[1], PIXEL)
    assert found is not None and mask is not None and not found.touches(mask.mask)


def test_nothing_left_inside(tmp_path: Path) -> None:
    mask = soft_sphere(BOX, 5, 4)
    paths = written(tmp_path, (white(BOX, 1) * mask, white(BOX, 2) * mask))
    with pytest.raises(InputError, match="masked before, so tightly"):
        open_half_maps(*paths, mask_diameter=100.0)


def test_other_jobs_share_the_check(tmp_path: Path) -> None:
    paths = written(tmp_path, masked_halves(2.0, 1.0, 4.0))
    job = run_anisotropy(AnisotropyConfig(*paths, out=tmp_path / "job"))
    result = json.loads((job / "result.json").read_text())
    assert result["mask"]["masked_before"]
    assert any("masked before" in warning for warning in result["warnings"])
    assert any("masked" in warning for warning in run_fsc(FscConfig(*paths)).warnings)


# ---- curves that fall and rise again


@cache
def dipping() -> tuple[torch.Tensor, torch.Tensor]:
    """Halves whose FSC is 0.98 to shell 5, 0 to shell 8, and 0.9 to shell 14 of 64 px."""
    signal, *noise = (to_half_fourier(white(64, seed)) for seed in (1, 2, 3))
    radius = half_frequency_radius(64)
    share = torch.where(radius < 5.5, 0.98, torch.where(radius < 8.5, 0.0, 0.9))
    share = torch.where(radius < 14.5, share, 0.0)
    first, second = (
        from_half_fourier(share.sqrt() * signal + (1 - share).sqrt() * one) for one in noise
    )
    return first, second


def test_the_first_fall_counts_as_in_relion(relion: Callable[[str], str], tmp_path: Path) -> None:
    paths = written(tmp_path, dipping())
    write_map(tmp_path / "mask.mrc", np.ones((64, 64, 64), np.float32), PIXEL)
    command = "--i half1.mrc --i2 half2.mrc --mask mask.mrc --o pp --adhoc_bfac 0"
    subprocess.run(
        [relion("relion_postprocess"), *command.split(), "--angpix", str(PIXEL)],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    line = next(x for x in (tmp_path / "pp.star").read_text().splitlines() if "FinalRes" in x)
    theirs = float(line.split()[1])
    assert theirs == pytest.approx(64 * PIXEL / 5, rel=1e-3)
    config = PostprocessConfig(*paths, mask=tmp_path / "mask.mrc", out=tmp_path / "job")
    result = json.loads((run_postprocess(config) / "result.json").read_text())
    curve = run_fsc(FscConfig(*paths))
    assert result["resolution_0143"] == pytest.approx(theirs, rel=1e-3)
    assert curve.resolution_0143 == pytest.approx(theirs, rel=1e-3)
    for warnings in (result["warnings"], curve.warnings):
        assert any("above it again up to 13.7 A" in warning for warning in warnings)


def test_chance_is_no_rise() -> None:
    curve = np.concatenate([np.ones(10), np.random.default_rng(0).normal(0, 0.08, 40)])
    assert rises_again(curve, 0.143) is None and not dip_warnings(curve, 100, 1.0)
    assert rises_again(fsc(*dipping()).numpy(), 0.143) == 14
    assert resolution_of_shell(fsc(*dipping()).numpy(), 0.143, 64, PIXEL) == 64 * PIXEL / 5
