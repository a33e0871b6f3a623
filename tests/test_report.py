from __future__ import annotations

import base64
import io
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from vitreous.errors import InputError
from vitreous.io.mrc import write_map
from vitreous.math.cells import cell_of
from vitreous.math.so3 import healpix_directions
from vitreous.math.symmetry import point_group
from vitreous.report.directions import cell_order, direction_density
from vitreous.report.html import write_report
from vitreous.report.progress import ProgressDisplay, duration
from vitreous.report.reckoning import share_done
from vitreous.report.record import iterations_by_start
from vitreous.report.viewer import SIDE, default_level, fitted, make_view
from vitreous.runs.log import EventLog, read_events

BOX, PIXEL = 32, 4.0


def blob(box: int = BOX, width: float = 4.0, seed: int = 0) -> np.ndarray:
    z, y, x = np.indices((box, box, box)) - box // 2
    noise = 0.01 * np.random.default_rng(seed).normal(size=(box, box, box))
    return (np.exp(-((x - 3) ** 2 + y**2 + z**2) / (2 * width**2)) + noise).astype(np.float32)


def uniform_directions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, count), np.degrees(np.arccos(rng.uniform(-1, 1, count)))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A finished two-class job of two starts."""
    for number in (1, 2):
        write_map(tmp_path / f"class{number:03d}.mrc", blob(width=3.0 + number), PIXEL)
    with EventLog(tmp_path / "log.jsonl") as log:
        for start in (1, 2):
            for i in range(1, 6):
                log(
                    "iteration",
                    start=start,
                    iteration=5 * (start - 1) + i,
                    of=10,
                    stage="between",
                    resolution=40.0 - i,
                    batch=100 * i,
                    log_likelihood=float(i),
                    max_posterior=0.1 * i,
                    change=0.5 / i,
                    class_fractions=[0.5, 0.5],
                )
    rot, tilt = uniform_directions(300, 1)
    names = ["AngleRot", "AngleTilt", "ClassNumber", "OriginXAngst", "OriginYAngst"]
    header = "".join(f"_rln{name} #{i}\n" for i, name in enumerate(names, 1))
    rows = "".join(
        f"{r:.3f} {t:.3f} {1 + i % 2} 3.0 4.0\n"
        for i, (r, t) in enumerate(zip(rot, tilt, strict=True))
    )
    (tmp_path / "particles.star").write_text(f"data_particles\n\nloop_\n{header}{rows}")
    frequency = (np.arange(1, 16) / (BOX * PIXEL)).tolist()
    result = {
        "job": "abinit",
        "version": "0.1.0",
        "versions": {"python": "3.11"},
        "options": {"particles": "x.star", "out": "job", "classes": 2, "offset_range": 6.0},
        "seed": 0,
        "device": "cpu",
        "input": {"particles": "x.star", "n_particles": 300, "box": BOX, "pixel_size": PIXEL},
        "timings": {"total_s": 75.0},
        "classes": [
            {"class": k, "map": f"class{k:03d}.mrc", "particles": 150, "fraction": 0.5}
            for k in (1, 2)
        ],
        "noise": [{"optics_group": 1, "frequency": frequency, "sigma2": [1.0] * 15}],
        "mask_diameter": 100.0,
        "symmetry": "C1",
        "starts": [{"start": k, "log_likelihood": 5.0, "chosen": k == 2} for k in (1, 2)],
        "hand": "undetermined",
        "warnings": ["the box is tight"],
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    return tmp_path


def change_result(job: Path, **changes: Any) -> None:
    path = job / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class Page(HTMLParser):
    """Collects what a browser would load, the tags, the viewers and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.viewers: list[dict[str, str]] = []
        self.textures: list[str] = []
        self.unnamed_pictures = 0
        self.words = ""
        self._in_texture = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "a":  # loads nothing until a reader asks for it
            self.links.append(given.get("href", ""))
        else:
            self.loads += [given[a] for a in ("src", "href", "xlink:href", "data") if a in given]
        if given.get("class") == "viewer":
            self.viewers.append(given)
        self._in_texture = given.get("class") == "texture"
        if tag == "img" and not given.get("alt"):
            self.unnamed_pictures += 1
        if tag == "svg" and not given.get("aria-label"):
            self.unnamed_pictures += 1

    def handle_data(self, data: str) -> None:
        if self._in_texture:
            self.textures.append(data)
            self._in_texture = False
        self.words += data


def report(job: Path) -> Page:
    return Page(write_report(job).read_text(encoding="utf-8"))


# The page


def test_report_loads_nothing_from_elsewhere(job: Path) -> None:
    page = report(job)
    assert page.loads
    assert all(load.startswith(("data:", "#")) for load in page.loads)
    text = (job / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!['\"]?#)(?!['\"]?data:)", text)
    assert "link" not in page.tags and "iframe" not in page.tags


def test_report_says_what_was_made_and_warns(job: Path) -> None:
    change_result(job, symmetry="C2")
    words = report(job).words
    assert "Two 3D maps from 300 particle images of x.star" in words
    assert "1 min 15 s" in words
    assert "hand is undetermined" in words
    assert "Symmetry C2 was imposed" in words
    assert "the box is tight" in words
    assert "vitreous abinit x.star --out job --classes 2" in words


def test_the_recorded_command_is_shown_where_there_is_one(job: Path) -> None:
    change_result(job, command=["/somewhere/bin/vitreous", "abinit", "a b.star", "--seed", 3])
    assert "vitreous abinit 'a b.star' --seed 3" in report(job).words


def test_pictures_have_alternative_texts(job: Path) -> None:
    page = report(job)
    assert page.tags.count("svg") >= 10
    assert page.unnamed_pictures == 0


def test_ids_are_unique_so_that_clip_paths_do_not_mix(job: Path) -> None:
    ids = re.findall(r'\bid="([^"]+)"', write_report(job).read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids))


def test_there_is_a_viewer_for_each_class_with_its_map(job: Path) -> None:
    page = report(job)
    assert len(page.viewers) == len(page.textures) == 2
    for number, (given, texture) in enumerate(zip(page.viewers, page.textures, strict=True), 1):
        side = int(given["data-side"])
        low, high, level = (float(given[f"data-{key}"]) for key in ("low", "high", "level"))
        volume = blob(width=3.0 + number)
        cube, _ = fitted(volume, PIXEL, 100.0)
        bytes_ = np.frombuffer(base64.b64decode(texture), np.uint8).reshape(3 * (side,))
        decoded = low + bytes_ / 255 * (high - low)
        assert np.abs(decoded - cube.clip(low, high)).max() <= 0.51 * (high - low) / 255
        assert volume.min() < low < level < high <= volume.max() * 1.1


def test_hostile_strings_stay_text(job: Path) -> None:
    hostile = "\"><script>alert(1)</script><img src=x onerror=y>&'"
    change_result(
        job,
        options={"particles": hostile, "out": hostile, hostile: hostile},
        input={"particles": hostile, "n_particles": 1, "optics_groups": [{hostile: hostile}]},
        warnings=[hostile],
        device=hostile,
        hand=hostile,
        version=hostile,
    )
    page = report(job)
    # Two textures and the viewers' script; two still pictures.
    assert page.tags.count("script") == 3
    assert page.tags.count("img") == 2
    assert hostile in page.words


@pytest.mark.parametrize("name", ["log.jsonl", "particles.star", "class001.mrc"])
def test_a_missing_part_is_left_out_with_a_word(job: Path, name: str) -> None:
    (job / name).unlink()
    page = report(job)
    assert name in page.words.replace("poses are", "particles.star")
    assert "not shown" in page.words or "No curves" in page.words
    assert len(page.viewers) == (1 if name == "class001.mrc" else 2)


def test_absent_fields_leave_their_curves_out(job: Path) -> None:
    with EventLog(job / "log.jsonl") as log:
        for i in range(1, 4):
            log("iteration", iteration=i, of=3, log_likelihood=None, change=0.1)
    change_result(job, starts=[], noise=[], classes=[], options={}, input={}, timings={})
    words = report(job).words
    assert "Change of the map" in words
    assert "Not logged, so not shown: fit to the images" in words
    assert "No noise spectrum" in words


def test_relion_3_0_particles_are_read(job: Path) -> None:
    path = job / "particles.star"
    path.write_text(path.read_text().replace("data_particles", "data_"))
    assert "Viewing directions" in report(job).words


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_missing_or_broken_result_is_a_clear_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_repeats_of_a_resumed_job_replace_the_first_tries() -> None:
    events = [
        {"event": "iteration", "iteration": i, "batch": b} for i, b in [(1, 1), (2, 1), (2, 9)]
    ]
    assert [e["batch"] for e in iterations_by_start(events)[1]] == [1, 9]


# The viewer's data


def test_texture_is_the_map_to_8_bits() -> None:
    volume = blob(SIDE)
    view = make_view(volume, PIXEL)
    assert view.texture.shape == volume.shape
    assert view.width == pytest.approx(SIDE * PIXEL)
    step = (view.high - view.low) / 255
    difference = view.density() - np.clip(volume, view.low, view.high)
    assert np.abs(difference).max() <= 0.51 * step


@pytest.mark.parametrize("box", [20, 48, 96])
def test_cut_cube_keeps_density_and_place(box: int) -> None:
    width = box / 12
    z, y, x = np.indices((box, box, box)) - box // 2
    volume = np.exp(-((x - box / 10) ** 2 + y**2 + z**2) / (2 * width**2)).astype(np.float32)
    cube, voxel = fitted(volume, PIXEL, 0.7 * box * PIXEL)
    assert cube.shape[0] <= SIDE
    zz, yy, xx = (np.indices(cube.shape) - cube.shape[0] // 2) * voxel / PIXEL
    expected = np.exp(-((xx - box / 10) ** 2 + yy**2 + zz**2) / (2 * width**2))
    assert np.abs(cube - expected).max() < 0.01


def test_first_contour_lies_within_the_density() -> None:
    rng = np.random.default_rng(3)
    spike = np.zeros((16, 16, 16), np.float32)
    spike[8, 8, 8] = 1
    for volume in (blob(), rng.normal(size=(16, 16, 16)), spike, -blob()):
        level = default_level(volume)
        view = make_view(volume.astype(np.float32), PIXEL)
        assert volume.mean() < level < volume.max()
        assert view.low < view.level < view.high


# Viewing directions


def test_cells_are_healpix_cells() -> None:
    for order in range(4):
        rot, tilt = healpix_directions(order)
        assert (cell_of(rot, tilt, order) == np.arange(12 * 4**order)).all()


def test_cells_hold_directions_on_every_border() -> None:
    rot, tilt = np.meshgrid(
        [-180, -90, 0, 45, 90, 270, 359.9999999999, 360, 1e-300, -1e-300],
        [0, 1e-9, 30, 48.189685104221404, 60, 90, 131.8103148957786, 180],
    )
    for order in range(4):
        cells = cell_of(rot, tilt, order)
        assert ((cells >= 0) & (cells < 12 * 4**order)).all()


def test_even_directions_have_density_one() -> None:
    rot, tilt = uniform_directions(200_000, 2)
    density = direction_density(rot, tilt, 2)
    chi2 = float(((density.relative - 1) ** 2 * density.expected).sum())
    freedom = len(density.relative) - 1
    assert abs(chi2 - freedom) < 5 * math.sqrt(2 * freedom)
    assert np.abs(density.relative - 1).max() < 5 / math.sqrt(density.expected)


@pytest.mark.parametrize(("rot", "tilt"), [(0.0, 0.0), (123.0, 60.0), (-70.0, 179.0)])
def test_one_direction_fills_one_cell(rot: float, tilt: float) -> None:
    density = direction_density(np.full(50, rot), np.full(50, tilt), 2)
    assert (density.relative > 0).sum() == 1
    assert density.relative.max() == pytest.approx(len(density.relative))


def test_density_integrates_to_the_sphere() -> None:
    rot, tilt = uniform_directions(500, 4)
    for order in (1, 2, 3):
        density = direction_density(rot, tilt / 2, order)
        assert density.relative.sum() * density.solid_angle == pytest.approx(4 * math.pi)


def test_symmetry_mates_are_counted() -> None:
    density = direction_density(np.array([10.0]), np.array([70.0]), 1, point_group("C4"))
    mates = cell_of(10.0 + 90.0 * np.arange(4), np.full(4, 70.0), 1)
    assert set(np.flatnonzero(density.relative)) == set(mates)


def test_cells_are_never_finer_than_the_search() -> None:
    assert cell_order(10**7, 15.0) == 2
    assert cell_order(10**7, None) > cell_order(1000, None) >= 1


# Events and progress


def test_events_come_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EventLog(path, append=False) as log:
        log("start", out=tmp_path, box=np.int64(64), scale=torch.tensor(0.5))
        log({"event": "iteration", "bad": math.nan, "worse": np.array([1.0, np.inf])}, batch=3)
    first, second = read_events(path)
    assert first["event"] == "start" and first["out"] == str(tmp_path)
    assert (first["box"], first["scale"]) == (64, 0.5)
    assert second["bad"] is None and second["worse"] == [1.0, None] and second["batch"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", first["time"])
    assert "NaN" not in path.read_text()


def test_every_event_is_on_disk_at_once(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log.jsonl") as log:
        log("start")
        assert len(read_events(tmp_path / "log.jsonl")) == 1


def test_a_torn_line_is_passed_over_and_not_built_upon(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with EventLog(path) as log:
        log("start")
    with path.open("a") as file:
        file.write('{"event": "iterat')
    assert [e["event"] for e in read_events(path)] == ["start"]
    with EventLog(path, append=True) as log:
        log("resumed")
    assert [e["event"] for e in read_events(path)] == ["start", "resumed"]
    with EventLog(path) as log:
        log("anew")
    assert [e["event"] for e in read_events(path)] == ["anew"]


def plain_lines(iterations: range, of: int) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=False, width=40)
    with ProgressDisplay(console) as display:
        display({"event": "start"})
        for i in iterations:
            display(
                {
                    "event": "iteration",
                    "iteration": i,
                    "of": of,
                    "stage": "initial",
                    "resolution": 35.0,
                }
            )
    return text.getvalue().splitlines()


def test_plain_progress_tells_iteration_and_time_left() -> None:
    lines = plain_lines(range(1, 101), 100)
    assert 10 <= len(lines) <= 12
    assert all("initial, 35 A" in line for line in lines)
    assert any("50/100" in line for line in lines)
    assert all(" left" in line for line in lines[:-1])
    assert "100/100" in lines[-1]


def test_plain_progress_of_a_resumed_job() -> None:
    lines = plain_lines(range(81, 101), 100)
    assert 2 <= len(lines) <= 4
    assert "81/100" in lines[0] and "100/100" in lines[-1]


def test_a_notebook_draws_its_bar_anew_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    class Handle:
        def update(self, shown: str) -> None:
            drawn.append(shown)

    def display(shown: str, *, display_id: bool) -> Handle:
        assert display_id
        drawn.append(shown)
        return Handle()

    module = SimpleNamespace(HTML=lambda text: text, display=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=module))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    with ProgressDisplay(Console(file=io.StringIO(), force_jupyter=True)) as shown:
        shown({"event": "refinement", "stage": "<b>", "iteration": 3, "at_most": 4})
        shown({"event": "done"})
    assert drawn[0].startswith('<progress value="0.0000" max="1">')
    assert 'value="0.7500"' in drawn[1] and "&lt;b&gt;: 3 of at most 4" in drawn[1]
    assert 'value="1.0000"' in drawn[-1] and drawn[-1].endswith("done in 0 s")


def test_counts_that_are_upper_bounds_are_called_so() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=False, width=80)) as display:
        display({"event": "refinement", "stage": "passes", "iteration": 3, "at_most": 40})
        display({"event": "done"})
    assert "passes: 3 of at most 40," in text.getvalue()
    assert text.getvalue().splitlines()[-1] == "done in 0 s"


def test_one_estimate_for_the_whole_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a steady pace the time left falls steadily, also where a new stage begins."""
    stages, now = {"iteration": 0.5, "last passes": 0.2, "poses polished": 0.3}, 0.0
    monkeypatch.setattr("vitreous.report.progress.time.monotonic", lambda: now)
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=False, width=80)) as display:
        display({"event": "start", "job": "abinit"})
        display({"event": "plan", "stages": stages})
        for stage, share in stages.items():
            for i in range(11):
                display({"event": "iteration" if stage == "iteration" else "pass",
                         "stage": stage, "iteration": i, "of": 10})  # fmt: skip
                now += 1000 * share / 10 if i < 10 else 0.0
    told = [line for line in text.getvalue().splitlines() if "about" in line]
    assert len(told) >= 20
    for line in told:
        gone, left = (_seconds(part) for part in re.findall(r", (?:about )?([\d][\w ]*)", line))
        assert gone + left == pytest.approx(1000, abs=60)


def _seconds(words: str) -> int:
    units = {"s": 1, "min": 60, "h": 3600}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+) (s|min|h)\b", words))


def test_the_time_left_goes_by_work_where_steps_are_unlike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a hundred steps the later half take four times as long each, and events say so."""
    work, now = [1.0] * 50 + [4.0] * 50, 0.0
    monkeypatch.setattr("vitreous.report.progress.time.monotonic", lambda: now)
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=False, width=80)) as display:
        for i in range(101):
            share = sum(work[:i]) / sum(work)
            display({"event": "iteration", "iteration": i, "of": 100, "share": share})
            now += work[i] if i < 100 else 0.0
    told = [line for line in text.getvalue().splitlines() if "about" in line]
    assert len(told) >= 8
    for line in told:
        gone, left = (_seconds(part) for part in re.findall(r", (?:about )?([\d][\w ]*)", line))
        assert gone + left == pytest.approx(250, abs=10)


def test_a_stage_that_is_not_in_the_plan_has_no_part_of_the_job() -> None:
    assert share_done({"a": 0.25, "b": 0.75}, "b", 1.0) == pytest.approx(1)
    assert share_done({"a": 0.25, "b": 0.75}, "b", 0.5) == pytest.approx(0.625)
    assert share_done({"a": 0.25, "b": 0.75}, "of no job", 0.5) is None


def test_terminal_progress_shows_a_bar() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=True, width=120)) as display:
        display(
            {"event": "iteration", "iteration": 7, "of": 9, "stage": "final", "resolution": 15.0}
        )
    assert "7/9" in text.getvalue() and "final, 15 A" in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.6, "1 min"), (75, "1 min 15 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_second_search_within_a_job_has_an_estimate_of_its_own() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    with ProgressDisplay(console) as progress:
        progress({"event": "start", "job": "abinit"})
        for _ in range(2):
            progress({"event": "plan", "stages": {"iteration": 1.0}})
            for i in range(1, 11):
                progress({"event": "iteration", "stage": "final", "iteration": i, "of": 10})
    lines = console.file.getvalue().splitlines()
    second = lines[len(lines) // 2 :]
    assert "time left unknown" in second[0] and "left" in second[3]
