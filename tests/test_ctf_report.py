"""The page of a CTF refinement shows what was refined, and the phases are those put in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from test_ctf_refine import BOX, ODD, PIXEL, Stack, simulate
from test_report import Page

from vitreous.cli import app
from vitreous.imaging.ctf import beam_tilt_phase
from vitreous.io.mrc import open_stack
from vitreous.io.star import read_star
from vitreous.validate.optics.phase_fit import PhaseSums
from vitreous.validate.optics.phase_picture import on_plane, phase_pictures
from vitreous.validate.optics.significance import standing

SECTIONS = {
    "--defocus": "Defocus",
    "--astigmatism": "Astigmatism",
    "--beam-tilt": "Beam tilt and trefoil",
    "--magnification": "Magnification",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    change = np.random.default_rng(0).normal(scale=300, size=(300, 1)) * [1, 0, 0]
    return simulate(tmp_path_factory.mktemp("ctf") / "data", ODD, change, snr=1.0)


def refined(stack: Stack, out: Path, *options: str) -> Path:
    words = ["ctf-refine", stack.star, "--map", stack.truth, "--out", out, *options]
    with pytest.raises(SystemExit, match="0"):
        app([str(word) for word in words])
    return out


@pytest.fixture(scope="module")
def job(stack: Stack) -> Path:
    return refined(stack, stack.star.parent / "all", *SECTIONS, "--trefoil")


def headings(text: str) -> set[str]:
    return {part.partition("</h2>")[0] for part in text.split("<h2>")[1:]}


def test_every_refined_value_has_its_section(job: Path) -> None:
    text = (job / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert set(SECTIONS.values()) <= headings(text)
    assert not [link for link in page.loads if not link.startswith(("data:", "#"))]
    assert page.unnamed_pictures == 0
    # Defocus, its change and its places; astigmatism twice; phases; magnification.
    assert page.tags.count("svg") == 7
    for words in ("beam tilt", "trefoil", "anisotropic", "mic0001.mrc", "± "):
        assert words in page.words


@pytest.mark.parametrize("option", ["--defocus", "--beam-tilt", "--magnification"])
def test_nothing_else_is_shown(stack: Stack, tmp_path: Path, option: str) -> None:
    text = (refined(stack, tmp_path / "one", option) / "report.html").read_text(encoding="utf-8")
    assert headings(text) & set(SECTIONS.values()) == {SECTIONS[option]}


def test_pages_without_places_and_with_warnings(stack: Stack, tmp_path: Path) -> None:
    star = stack.star.with_name("bare.star")
    blank = {"_rlnCoordinateX": "_rlnNotX", "_rlnCoordinateY": "_rlnNotY"}
    text = stack.star.read_text()
    for name, other in blank.items():
        text = text.replace(name, other)
    star.write_text(text)
    bare = Stack(star, stack.truth, stack.defocus)
    job = refined(bare, tmp_path / "j", "--defocus", "--defocus-range", "50")
    page = Page((job / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("svg") == 2
    assert "went to the limit" in page.words


def test_changes_stand_beside_the_particles(stack: Stack, job: Path) -> None:
    changes = pl.read_csv(job / "changes.csv")
    before, after = (
        read_star(path)["particles"].frame.select(
            (pl.col("rlnDefocusU").cast(float) + pl.col("rlnDefocusV").cast(float)) / 2
        )
        for path in (stack.star, job / "particles.star")
    )
    for label, frame in (("before", before), ("after", after)):
        expected = frame["rlnDefocusU"].to_numpy()
        assert np.abs(changes[f"mean_{label}"].to_numpy() - expected).max() < 0.02


def test_measured_phases_are_those_put_in(job: Path) -> None:
    measured, fitted, left = open_stack(job / "odd_phases_group1.mrcs").read(np.arange(3))
    reach = measured.shape[0] // 2
    axis = torch.arange(-reach, reach + 1) / (BOX * PIXEL)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij")[::-1], dim=-1)
    true = beam_tilt_phase(points, ODD).angle().numpy()
    strong = (fitted != 0) & (np.abs(true) > 0.3) & (np.abs(true) < 2.5)
    assert strong.sum() > 200
    for picture in (measured, fitted):
        assert np.corrcoef(picture[strong], true[strong])[0, 1] > 0.9
        assert np.polyfit(true[strong], picture[strong], 1)[0] == pytest.approx(1, abs=0.2)
    assert np.abs(left[strong]).mean() < 0.3 * np.abs(true[strong]).mean()


def test_pictures_of_known_phases() -> None:
    y, x = torch.meshgrid(torch.arange(-6, 7), torch.arange(7), indexing="ij")
    steps = torch.stack([x, y], dim=-1).reshape(-1, 2).float()
    steps = steps[((steps[:, 0] > 0) | (steps[:, 1] > 0)) & (steps.norm(dim=1) <= 6)]
    phase = 0.1 * steps[:, 0] - 0.05 * steps[:, 1]
    first = torch.polar(torch.ones_like(phase), phase)
    sums = PhaseSums(first, torch.zeros_like(first), torch.ones_like(phase))
    measured, fitted, left = phase_pictures(sums, phase, steps)
    grid = np.arange(-6, 7)
    expected = 0.1 * grid[None, :] - 0.05 * grid[:, None]
    inside = np.hypot(grid[None, :], grid[:, None]) <= 6
    assert np.abs((fitted - expected) * inside).max() < 1e-6
    core = np.hypot(grid[None, :], grid[:, None]) <= 2  # a blur keeps a slope, but at the edge
    assert np.abs((measured - expected) * core).max() < 0.03
    assert np.abs(left).max() < 1e-6
    assert on_plane(first, steps)[0, 6] == on_plane(first, steps)[12, 6].conj()
    assert math.isclose(float(fitted[6, 6]), 0.0)


def test_a_change_below_its_own_error_does_not_stand_by_itself() -> None:
    sure = {"significant": True}
    assert standing(sure, 90.0, 30.0) == "yes"
    assert standing(sure, 20.0, 30.0).startswith("only taken together")
    assert standing({"significant": False}, 90.0, 30.0) == "no"
