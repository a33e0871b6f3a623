"""Micrographs selected by what CTF estimation said of them, by columns and at random."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest

from vitreous.config.particles import SelectConfig
from vitreous.errors import VitreousError
from vitreous.io.star import StarBlock, write_star
from vitreous.jobs.particles.select import run_select
from vitreous.particles.relion.micrograph_table import read_micrographs

VERDICTS = ("keep", "doubtful", "reject", "keep", "reject", "keep")
RESOLUTIONS = (4.0, 5.0, 9.0, 7.0, 4.0, 3.5)


@pytest.fixture
def star(tmp_path: Path) -> Path:
    """Six micrographs in a folder of their own, in two optics groups."""
    folder = tmp_path / "ctf"
    folder.mkdir()
    for number in range(len(VERDICTS)):
        mrcfile.write(folder / f"m{number}.mrc", np.zeros((8, 8), np.float32), voxel_size=1.2)
    optics = pl.DataFrame(
        {"rlnOpticsGroup": ["1", "2"], "rlnMicrographPixelSize": ["1.2", "1.3"],
         "rlnVoltage": ["300", "200"]}
    )  # fmt: skip
    rows = pl.DataFrame(
        {"rlnMicrographName": [f"{folder}/m{number}.mrc" for number in range(len(VERDICTS))],
         "rlnOpticsGroup": ["1", "1", "1", "2", "2", "2"],
         "rlnCtfMaxResolution": [f"{value:.2f}" for value in RESOLUTIONS],
         "vitreousCtfVerdict": list(VERDICTS)}
    )  # fmt: skip
    path = folder / "micrographs_ctf.star"
    write_star(path, [StarBlock("optics", optics), StarBlock("micrographs", rows)])
    return path


def numbers(path: Path) -> list[int]:
    """Which micrographs a table holds; all of them are there."""
    table = read_micrographs(path)
    assert all(image.is_file() for image in table.images)
    return [int(image.stem[1:]) for image in table.images]


def test_those_not_rejected(star: Path, tmp_path: Path) -> None:
    out = tmp_path / "good.star"
    result = run_select(SelectConfig(star, out=out, auto=True))
    assert numbers(out) == [0, 1, 3, 5]
    assert result.kind == "micrographs" and [s.particles for s in result.steps] == [6, 4]
    assert json.loads(out.with_suffix(".json").read_text())["kind"] == "micrographs"


def test_by_columns_of_micrographs_and_optics(star: Path, tmp_path: Path) -> None:
    conditions = ("rlnCtfMaxResolution < 6", "rlnVoltage == 300")
    run_select(SelectConfig(star, out=tmp_path / "a.star", where=conditions))
    assert numbers(tmp_path / "a.star") == [0, 1]
    run_select(SelectConfig(star, out=tmp_path / "b.star", auto=True, where=conditions[:1]))
    assert numbers(tmp_path / "b.star") == [0, 1, 5]


def test_at_random_and_in_parts(star: Path, tmp_path: Path) -> None:
    found = []
    for name in "ab":
        run_select(SelectConfig(star, out=tmp_path / f"{name}.star", random=3, seed=4))
        found.append(numbers(tmp_path / f"{name}.star"))
    assert found[0] == found[1] and len(set(found[0])) == 3
    run_select(SelectConfig(star, out=tmp_path / "p.star", split=2))
    assert numbers(tmp_path / "p_split1.star") + numbers(tmp_path / "p_split2.star") == [*range(6)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": "1"}, "--classes: is for particles"),
        ({"not_": (Path("other.star"),)}, "--not: is for particles"),
        ({"split": "class"}, "no class"),
        ({"where": ("rlnCtfMaxResolution < 1",)}, "no micrograph is left of 6"),
        ({"random": 9}, "9 are wanted, but 6 are there"),
        ({"where": ("rlnCtfMaxRes < 1",)}, "rlnCtfMaxResolution"),
    ],
)
def test_bad_input_is_told(star: Path, tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(VitreousError, match=words):
        run_select(SelectConfig(star, out=tmp_path / "no.star", **options))
    assert not (tmp_path / "no.star").exists()


def test_a_table_without_verdicts_is_told(star: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.star"
    read_micrographs(star).without("vitreousCtfVerdict").write(plain)
    with pytest.raises(VitreousError, match="nothing was said of these micrographs"):
        run_select(SelectConfig(plain, out=tmp_path / "no.star", auto=True))
