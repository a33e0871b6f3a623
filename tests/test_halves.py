"""Halves and folds: no image in both, and what is said of halves that are not independent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import simulated

from vitreous.config.maps import ReconstructConfig
from vitreous.config.particles import CheckConfig, ExpandSymmetryConfig, SelectConfig
from vitreous.errors import InputError
from vitreous.io.star import read_star, write_star
from vitreous.jobs.check.check import run_check
from vitreous.jobs.check.pick_findings import distance_findings
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.particles.expand_symmetry import run_expand_symmetry
from vitreous.jobs.particles.select import run_select
from vitreous.particles.files import read_particles
from vitreous.particles.groups import (
    dealt_halves,
    folds,
    given_halves,
    given_or_dealt,
    held_out,
    image_numbers,
    units,
)
from vitreous.particles.particle_set import ParticleSet
from vitreous.report.html import write_report

COUNT = 120


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("halves") / "data", COUNT, snr=0.5, seed=3)


def changed(star: Path, name: str, **columns: object) -> Path:
    """The same particles with other columns; None drops one."""
    blocks = read_star(star)
    frame = blocks["particles"].frame
    frame = frame.drop(c for c, values in columns.items() if values is None)
    new = [pl.Series(c, [str(v) for v in values]) for c, values in columns.items() if values]
    blocks["particles"] = blocks["particles"].with_frame(frame.with_columns(new))
    write_star(star.parent / name, blocks.values())
    return star.parent / name


def names(star: Path) -> list[str]:
    return read_star(star)["particles"].frame["rlnImageName"].to_list()


def in_both(image: np.ndarray, half: np.ndarray) -> int:
    return len(set(image[half == 1].tolist()) & set(image[half == 2].tolist()))


# ---- what is one image


def test_one_image_by_any_name(stack: Path) -> None:
    file = names(stack)[0].split("@")[1]
    folder = stack.parent
    (folder / "linked.mrcs").symlink_to((folder / file).resolve())
    same = [f"2@{file}", f"000002@{file}", "2@linked.mrcs", f"02@./{file}", f"2@{folder / file}"]
    star = changed(stack, "named.star", rlnImageName=same + names(stack)[len(same) :])
    found = image_numbers(read_particles(star))
    assert len(set(found[: len(same)].tolist())) == 1
    assert len(set(found.tolist())) == COUNT - len(same) + 1


def test_after_subtraction_the_original_image_counts(stack: Path) -> None:
    own = names(stack)
    originals = [own[0]] * 3 + ["None"] + own[4:]
    star = changed(stack, "subtracted.star", rlnImageOriginalName=originals)
    found = image_numbers(read_particles(star))
    assert len(set(found[:3].tolist())) == 1  # mates of one image, subtracted each
    assert len(set(found.tolist())) == COUNT - 2


# ---- dealing


def test_copies_share_halves_folds_and_what_is_held_out() -> None:
    rng = np.random.default_rng(1)
    image, order = np.repeat(np.arange(100), 3), rng.permutation(300)
    parts = folds(order, image, 4)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(300))
    seen = [set(image[part].tolist()) for part in parts]
    assert sum(map(len, seen)) == 100 and max(map(len, seen)) - min(map(len, seen)) <= 1
    held, rest = held_out(order, image, 30)
    assert len(held) == 30 and not set(image[held]) & set(image[rest])
    alone = np.arange(300)  # without copies as a plain deal
    for number, part in enumerate(folds(order, alone, 4)):
        assert np.array_equal(part, order[number::4])
    assert np.array_equal(held_out(order, alone, 30)[0], np.sort(order[:30]))


@pytest.mark.parametrize("unit", ["random", "micrograph"])
def test_no_image_in_both_halves(stack: Path, unit) -> None:
    table = read_particles(stack)
    table = table.take(np.random.default_rng(0).permutation(np.repeat(np.arange(COUNT), 2)))
    found, image = dealt_halves(table, unit, 1), image_numbers(table)
    assert in_both(image, found.half) == 0
    largest = np.bincount(units(table, unit)).max()
    assert abs(int((found.half == 1).sum()) - COUNT) <= largest / 2


def test_an_image_on_two_micrographs_stays_whole(stack: Path) -> None:
    own = names(stack)
    star = changed(
        stack, "joined.star",
        rlnImageName=own[:60] + own[:60],
        rlnMicrographName=[f"m{row // 10}.mrc" for row in range(COUNT)],
    )  # fmt: skip
    table = read_particles(star)
    half = dealt_halves(table, "micrograph", 0).half
    assert in_both(image_numbers(table), half) == 0
    for micrograph in range(12):
        assert len(set(half[10 * micrograph : 10 * micrograph + 10].tolist())) == 1


def test_select_and_expansion(stack: Path, tmp_path: Path) -> None:
    star, out = tmp_path / "c4.star", tmp_path / "halves.star"
    run_expand_symmetry(ExpandSymmetryConfig(stack, symmetry="C4", out=star))
    found = run_select(SelectConfig(star, out=out, halves="random"))
    table = read_particles(out)
    assert len(table) == 4 * COUNT
    assert in_both(image_numbers(table), given_halves(table, "").half) == 0
    assert any("poses were found before" in warning for warning in found.warnings)


# ---- the halves that a table brings


def loaded(stack: Path, subset: list[object] | None) -> ParticleSet:
    return read_particles(changed(stack, "subset.star", rlnRandomSubset=subset))


def test_one_subset_is_told(stack: Path) -> None:
    found = given_or_dealt(loaded(stack, [1] * COUNT), "random", 0)
    assert found.dealt and "All 120 particles have 1" in found.warnings[0]
    assert np.bincount(found.half)[1:].tolist() == [COUNT // 2] * 2
    for nothing in (None, [0] * COUNT):  # as RELION has it before halves are dealt
        found = given_or_dealt(loaded(stack, nothing), "random", 0)
        assert found.dealt and not found.warnings


@pytest.mark.parametrize("odd", [0, 3, -1])
def test_other_subsets_are_refused(stack: Path, odd: int) -> None:
    table = loaded(stack, [1, 2] * (COUNT // 2 - 1) + [1, odd])
    with pytest.raises(InputError, match=f"row 120 .* has {odd} .* expected 1 or 2"):
        given_or_dealt(table, "random", 0)


def test_images_in_both_given_halves_are_told(stack: Path) -> None:
    own = names(stack)
    star = changed(
        stack, "both.star",
        rlnImageName=own[:110] + own[:10], rlnRandomSubset=[1, 2] * 30 + [2, 1] * 30,
    )  # fmt: skip
    table = read_particles(star)
    found = given_or_dealt(table, "random", 0)
    assert not found.dealt and found.images_in_both == in_both(image_numbers(table), found.half)
    assert found.images_in_both == 10 and "10 of 110 images" in found.warnings[0]
    assert found.record(independent=True)["independent"] is False


@pytest.mark.slow
@pytest.mark.parametrize(("halves", "apart"), [("column", True), ("random", False)])
def test_reconstruct_says_whether_halves_are_independent(
    stack: Path, tmp_path: Path, halves, apart: bool
) -> None:
    job = run_reconstruct(ReconstructConfig(stack, out=tmp_path / "job", halves=halves))
    result = json.loads((job / "result.json").read_text())
    assert result["halves"]["independent"] is apart
    assert any("not independent" in warning for warning in result["warnings"]) is not apart
    write_report(job)
    page = (job / "report.html").read_text()
    assert ("not independent" in page) is not apart


# ---- the check's hints


def test_an_expansion_is_no_fault(stack: Path, tmp_path: Path) -> None:
    star = tmp_path / "c4.star"
    run_expand_symmetry(ExpandSymmetryConfig(stack, symmetry="C4", out=star))
    found = {finding.code: finding for finding in run_check(CheckConfig(star)).findings}
    assert "same-image-twice" not in found
    assert found["several-views-of-image"].level == "note"
    assert "remove" not in found["several-views-of-image"].hint
    once, expanded = (
        [finding.evidence.split(" are ")[0] for finding in distance_findings(table, 400.0)]
        for table in (read_particles(stack), read_particles(star))
    )
    assert once and expanded == once  # mates are no neighbours of each other
