"""Local resolution, against closed forms where signal and noise are known everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from half_map_samples import BOX, PIXEL, decayed, halves, white, written

from vitreous.config.maps import LocalResolutionConfig
from vitreous.errors import VitreousError
from vitreous.imaging.filters import low_pass
from vitreous.imaging.masks import soft_sphere
from vitreous.io.mrc import read_map
from vitreous.jobs.maps.local_resolution import run_local_resolution
from vitreous.report.html import write_report
from vitreous.validate.fsc import crossing, fsc
from vitreous.validate.local_resolution import (
    lattice,
    local_fsc,
    local_window,
    locally_filtered,
    spread,
    whitened,
)

SIDE = 64


def two_sided(b_left: float, b_right: float, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Halves whose signal is white noise with one B-factor left of x = 0, another right of it."""
    x = torch.arange(SIDE) - SIDE // 2
    left, right = (decayed(white(SIDE, 1), b, PIXEL) for b in (b_left, b_right))
    share = torch.sigmoid(x / 1.0)
    signal = left * (1 - share) + right * share
    first, second = (signal + noise * white(SIDE, seed) for seed in (2, 3))
    return first, second


def closed_form(b_factor: float, noise: float, threshold: float) -> float:
    """Frequency where exp(-B k^2 / 2) / (exp(-B k^2 / 2) + noise^2) is the threshold."""
    return float(np.sqrt(-2 / b_factor * np.log(noise**2 * threshold / (1 - threshold))))


@pytest.mark.parametrize("threshold", [0.143, 0.5])
def test_finds_the_resolution_of_either_side(threshold: float) -> None:
    b_left, b_right, noise = 300.0, 60.0, 0.4
    window = local_window(20.0)
    points = np.argwhere(np.ones((4, 4, 4))) * 10 + 17
    curves = local_fsc(*whitened(*two_sided(b_left, b_right, noise)), points, window)
    frequency = crossing(curves, threshold, 2) / (window.side * PIXEL)
    for b_factor, there in (
        (b_left, points[:, 2] < SIDE // 2 - 10),
        (b_right, points[:, 2] > SIDE // 2 + 10),
    ):
        expected = closed_form(b_factor, noise, threshold)
        assert np.median(frequency[there]) == pytest.approx(expected, rel=0.08)


def test_window_over_all_gives_the_shells_of_the_whole() -> None:
    """Signal that fills a small cube, seen through a window that hardly falls off there."""
    window = local_window(24.0)
    inner = torch.zeros(SIDE, SIDE, SIDE)
    inner[28:36, 28:36, 28:36] = 1
    first, second = (inner * (white(SIDE, 1) + white(SIDE, seed)) for seed in (2, 3))
    centre = np.array([[SIDE // 2] * 3])
    found = local_fsc(first, second, centre, window)[0]
    low = (SIDE - window.side) // 2
    cut = slice(low, low + window.side)
    expected = fsc(first[cut, cut, cut], second[cut, cut, cut]).numpy()
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_whitening_keeps_low_frequencies_from_spilling_over() -> None:
    """Where the spectrum falls ten-thousandfold, windows of the plain maps see too fine detail."""
    b_factor, noise = 500.0, 0.01
    points = np.argwhere(np.ones((4, 4, 4))) * 10 + 17
    window, halves = local_window(16.0), two_sided(b_factor, b_factor, noise)
    plain, flat = (
        np.median(crossing(local_fsc(*maps, points, window), 0.143, 2)) / (window.side * PIXEL)
        for maps in (halves, whitened(*halves))
    )
    expected = closed_form(b_factor, noise, 0.143)
    assert flat == pytest.approx(expected, rel=0.05)
    assert plain > 1.08 * expected


def test_crossing_of_curves() -> None:
    curves = np.array([[1, 1, 0.8, 0.4, 0.1], [1, 1, 0.9, 0.8, 0.7], [1, 0.1, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(crossing(curves, 0.5), [2.75, 4, 1])


def test_lattice_values_are_interpolated_linearly() -> None:
    inside = np.ones((32, 32, 32), dtype=bool)
    points, shape = lattice(inside, 4)
    plane = points @ np.array([0.5, -1.0, 2.0])
    found = spread(plane, points, shape, 4, 32)
    z, y, x = np.indices((29, 29, 29))
    np.testing.assert_allclose(found[:29, :29, :29], 0.5 * z - y + 2 * x, atol=1e-4)
    one = spread(np.array([7.0]), np.array([[8, 8, 8]]), (8, 8, 8), 4, 32)
    assert (one == 7).all()  # beyond the points, the nearest one's


def test_local_filter_is_the_low_pass_of_each_place() -> None:
    volume = white(SIDE, 4)
    everywhere = locally_filtered(volume, torch.full_like(volume, 1 / 8), PIXEL)
    torch.testing.assert_close(everywhere, low_pass(volume, PIXEL, 8.0), atol=1e-4, rtol=0)
    frequency = torch.full_like(volume, 1 / 8)
    frequency[..., SIDE // 2 :] = 1 / 4
    found = locally_filtered(volume, frequency, PIXEL)
    for half, resolution in ((slice(0, 32), 8.0), (slice(32, 64), 4.0)):
        expected = low_pass(volume, PIXEL, resolution)[..., half]
        torch.testing.assert_close(found[..., half], expected, atol=1e-3, rtol=0)


def test_job(tmp_path: Path) -> None:
    first, second = halves()
    maps = written(tmp_path, a=first, b=second, mask=soft_sphere(BOX, 16, 5))

    def config(name: str, **options: object) -> LocalResolutionConfig:
        given = {"mask": maps["mask"], **options}
        return LocalResolutionConfig(maps["a"], maps["b"], out=tmp_path / name, **given)  # type: ignore[arg-type]

    events: list[dict] = []
    job = run_local_resolution(config("job"), events.append)
    found = json.loads((job / "result.json").read_text())
    local, pixel_size = read_map(job / "local_resolution.mrc")
    assert pixel_size == PIXEL and local.min() >= 2 * PIXEL - 1e-4
    # The molecule is alike throughout, so its middle is as fine as the whole.
    middle = slice(BOX // 2 - 6, BOX // 2 + 6)
    assert np.median(local[middle, middle, middle]) == pytest.approx(
        found["resolution_0143_interpolated"], rel=0.1
    )
    assert found["window"]["diameter"] == pytest.approx(7 * found["resolution_0143_interpolated"])
    assert events[-1]["iteration"] == events[-1]["of"]
    assert "Local resolution" in write_report(job).read_text()
    for options, words in (
        ({"window": 4.0}, "--window: 4 A is not between 12 and 72 A"),
        ({"threshold": 1.5}, "--threshold"),
    ):
        with pytest.raises(VitreousError, match=words):
            run_local_resolution(config("other", **options))
    noise = written(tmp_path, n=white(BOX, 8), m=white(BOX, 9))
    with pytest.raises(VitreousError, match=r"does not agree with .* at any frequency"):
        run_local_resolution(
            LocalResolutionConfig(noise["n"], noise["m"], out=tmp_path / "noise", mask=maps["mask"])
        )
