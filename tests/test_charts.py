"""Charts and pictures put things where they belong."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from vitreous.math.cells import cell_of
from vitreous.math.symmetry import point_group
from vitreous.report.chart import Axis, Chart, Line, Rule, equal_axes, round_ticks
from vitreous.report.directions import SLICES_ORDER, relative_slices
from vitreous.report.panels import Panel, arranged, mollweide
from vitreous.report.watch import columns, sampled, trace
from vitreous.schedules.refine.change import change_of, turned_by


def paths(svg: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'class="line" d="([^"]+)"', svg)
    return [
        [(float(a), float(b)) for a, b in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
        for path in found
    ]


def ticks(svg: str) -> dict[str, tuple[float, float]]:
    words = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>([-\d.]+)</text>', svg)
    return {word: (float(x), float(y)) for x, y, word in words}


@pytest.mark.parametrize("log", [False, True])
def test_points_lie_at_the_ticks_of_their_values(log: bool) -> None:
    x = Axis("x", (1, 3), [(1, "1"), (2, "2"), (3, "3")])
    y = Axis("y", (10, 1000), [(v, f"{v}") for v in (10, 100, 1000)], log=log)
    svg = Chart(x, y, "alt", [Line([1, 2, 3], [10, 100, 1000])]).svg()
    at = ticks(svg)
    for (px, py), one, other in zip(paths(svg)[0], "123", ("10", "100", "1000"), strict=True):
        assert px == pytest.approx(at[one][0], abs=0.11)
        assert py == pytest.approx(at[other][1] - 4, abs=0.11)
    heights = [p[1] for p in paths(svg)[0]]
    halfway = (heights[1] - heights[2]) / (heights[0] - heights[2])
    assert halfway == pytest.approx(0.5 if log else 900 / 990, abs=0.01)


def test_a_circle_is_round_on_equal_axes() -> None:
    angle = np.linspace(0, 2 * np.pi, 60)
    circle = np.stack([5 + 3 * np.cos(angle), 100 + 3 * np.sin(angle)], axis=1)
    svg = Chart(*equal_axes(("x", "y"), circle), "alt", [Line.through(circle)]).svg()
    x, y = np.array(paths(svg)[0]).T
    assert np.ptp(x) == pytest.approx(np.ptp(y), rel=0.01) and np.ptp(y) > 150
    single = equal_axes(("x", "y"), np.array([[2.0, 2.0]]))
    assert all(axis.limits is not None and axis.limits[0] < 2 < axis.limits[1] for axis in single)


def test_the_widest_row_of_panels_is_shown_whole() -> None:
    panel = Panel(np.eye(4), "", (0, 1), width=50.0)
    width = float(re.findall(r'viewBox="0 0 ([\d.]+)', arranged([[panel] * 3, [panel]], "alt"))[0])
    assert width >= 3 * 50


def test_a_line_is_interrupted_where_there_is_no_value() -> None:
    svg = Chart(Axis("x"), Axis("y"), "alt", [Line([1, 2, 3, 4], [1, math.nan, 2, math.inf])]).svg()
    (path,) = re.findall(r'class="line" d="([^"]+)"', svg)
    assert path.count("M") == 2 and "nan" not in svg and "inf" not in svg


def test_names_are_text() -> None:
    name = '<script>"'
    svg = Chart(
        Axis(name), Axis(name), name, [Line([0, 1], [0, 1], name), Line([0, 1], [1, 0], "b")],
        rules=[Rule(0.5, word=name)],
    ).svg()  # fmt: skip
    assert "<script" not in svg and svg.count("&lt;script&gt;&#34;") == 5


def test_a_chart_of_nothing_is_a_chart() -> None:
    assert "<svg" in Chart(Axis("x"), Axis("y", log=True), "alt", [Line([], [])]).svg()
    assert "<svg" in Chart(Axis("x"), Axis("y"), "alt", [Line([1], [0])]).svg()


@pytest.mark.parametrize("span", [(0, 1), (0.2, 0.21), (-3, 1e5), (1e-9, 2e-9), (1200, 1500)])
def test_ticks_are_round_and_few(span: tuple[float, float]) -> None:
    found = round_ticks(*span)
    steps = np.diff(found)
    assert 2 <= len(found) <= 7 and np.allclose(steps, steps[0])
    assert span[0] - 1e-9 <= found[0] and found[-1] <= span[1] * (1 + 1e-9)
    assert round(steps[0] / 10 ** math.floor(math.log10(steps[0] * 1.0001)), 6) in (1, 2, 5)


def test_a_map_of_the_sphere_keeps_areas_and_places() -> None:
    order, cells = 2, np.arange(192.0)
    image = mollweide(cells, order, (0, 1), 400.0).image
    counts = np.bincount(image[np.isfinite(image)].astype(int), minlength=192)
    assert counts / counts.mean() == pytest.approx(1, abs=0.06)
    height, width = image.shape
    for rot, tilt in [(50.0, 60.0), (-130.0, 25.0), (100.0, 140.0), (-20.0, 95.0)]:
        wanted = math.pi * math.cos(math.radians(tilt))
        angle = brentq(lambda t, w=wanted: 2 * t + math.sin(2 * t) - w, -math.pi / 2, math.pi / 2)
        x, y = rot / 180 * math.cos(angle), math.sin(angle)
        found = image[int((y + 1) / 2 * height), int((x + 1) / 2 * width)]
        assert found == cell_of(np.array([rot]), np.array([tilt]), order)[0]


def test_slices_of_side_views_all_pass_through_the_pole() -> None:
    rot = np.linspace(-180, 180, 500, endpoint=False)
    slices = relative_slices(rot, np.full(500, 90.0), point_group("C1"))
    pole = cell_of(np.array([10.0]), np.array([2.0]), SLICES_ORDER)[0]
    equator = cell_of(np.array([10.0]), np.array([90.0]), SLICES_ORDER)[0]
    assert slices[pole] == slices.max() > 5 * slices[equator]
    assert slices.mean() == pytest.approx(1)


def test_slices_of_a_symmetric_map_are_symmetric() -> None:
    slices = relative_slices(np.array([20.0, 21.0]), np.array([60.0, 62.0]), point_group("C4"))
    rot, tilt = np.full(4, 33.0) + 90 * np.arange(4), np.full(4, 40.0)
    assert np.ptp(slices[cell_of(rot, tilt, SLICES_ORDER)]) == 0


# Changes of poses


def test_a_turn_is_measured_up_to_symmetry() -> None:
    before = torch.from_numpy(Rotation.random(50, random_state=1).as_matrix())
    axis = np.random.default_rng(2).normal(size=(50, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.linspace(0, 30, 50)
    turn = torch.from_numpy(Rotation.from_rotvec(np.radians(angle)[:, None] * axis).as_matrix())
    operators = point_group("D3")
    mates = operators[torch.arange(50) % len(operators)].to(before)
    after = turn @ before @ mates
    assert turned_by(before, after, operators).numpy() == pytest.approx(angle, abs=1e-5)
    assert turned_by(before, after, point_group("C1"))[1] > 90


def test_changes_are_those_of_half_and_nine_tenths() -> None:
    same = torch.eye(3, dtype=torch.float64).expand(101, 3, 3)
    moved = torch.stack([torch.arange(101.0), torch.zeros(101)], dim=1)
    change = change_of((same, same), (torch.zeros(101, 2), moved), point_group("C1"))
    assert change.angles == (0.0, 0.0) and change.shifts == pytest.approx((50.0, 90.0))


# In characters


def test_columns_are_as_high_as_their_values() -> None:
    lines = columns([0.0, 0.25, 0.5, 1.0, 2.0, -1.0], 2)
    assert lines == ["   ██ ", " ▄███ "]
    assert trace([1, 1]) and len(trace(list(range(500)))) == 60
    assert sampled(list(range(100)), 10)[-1] == 99
