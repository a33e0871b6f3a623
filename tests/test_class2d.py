"""2D classification against known views, closed forms, and RELION's programs."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify2d import Class2dConfig, Class2dOptions
from vitreous.config.particles import SelectConfig
from vitreous.config.refine import RefineConfig
from vitreous.engine.class_averages import Pixels
from vitreous.engine.class_fit import class_fit
from vitreous.engine.class_pass import Given
from vitreous.engine.images import working_frame
from vitreous.engine.searches.classes import class_references, compare
from vitreous.engine.searches.fixed import compare_at_poses, turned
from vitreous.engine.searches.grid import Trial, shares
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.errors import InputError, OptionError
from vitreous.imaging.polar import PolarGrid, polar_grid
from vitreous.imaging.project import shift_phase
from vitreous.io.mrc import stack_writer
from vitreous.io.star import read_star, write_star
from vitreous.jobs.abinit.begin import begin
from vitreous.jobs.class2d.class2d import run_class2d
from vitreous.jobs.class2d.context import set_up
from vitreous.jobs.particles.chosen import chosen_particles, ranges
from vitreous.jobs.particles.select import run_select
from vitreous.particles.files import read_particles
from vitreous.particles.grid import Grid
from vitreous.particles.stack import open_images
from vitreous.report.html import write_report
from vitreous.runs.folder import ignore
from vitreous.runs.replacement import is_finished
from vitreous.schedules.class2d.finish import finished
from vitreous.schedules.class2d.online import first_state, sure_shares, went_through
from vitreous.schedules.class2d.rejected import sorted_again
from vitreous.schedules.class2d.search import searched
from vitreous.schedules.class2d.starved import begun_anew
from vitreous.validate.class_average import AverageMeasures, judge
from vitreous.validate.labels import contingency

BOX, PIXEL, MASK = 32, 8.0, 200.0
RINGS = 12
GRID = polar_grid(RINGS, 0.8)
LUMPS = torch.tensor([[4.0, 1.0, 1.0], [-3.0, 2.0, 0.8], [1.0, -5.0, 0.6], [-2.0, -3.0, 0.9]])
"""x, y in pixels and weight of Gaussians that an image consists of."""


def picture(lumps: torch.Tensor, width: float = 1.6) -> torch.Tensor:
    axis = torch.arange(BOX) - BOX // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    squares = (x - lumps[:, 0, None, None]) ** 2 + (y - lumps[:, 1, None, None]) ** 2
    return (lumps[:, 2, None, None] * torch.exp(-squares / (2 * width**2))).sum(dim=0)


def samples(lumps: torch.Tensor, width: float = 1.6, grid: PolarGrid = GRID) -> torch.Tensor:
    """The transform on rings, in closed form."""
    k = grid.points() / BOX
    wave = torch.exp(-2j * math.pi * (k[..., None, :] * lumps[:, :2]).sum(dim=-1))
    envelope = torch.exp(-2 * (math.pi * width) ** 2 * (k**2).sum(dim=-1))
    return (wave * lumps[:, 2]).sum(dim=-1) * envelope * 2 * math.pi * width**2 / BOX


def rotated(lumps: torch.Tensor, psi: float, origin: tuple[float, float]) -> torch.Tensor:
    """Lumps of an image of a class at in-plane angle psi (RELION's) and this origin."""
    c, s = math.cos(psi), math.sin(psi)
    turn = torch.tensor([[c, s], [-s, c]])  # the transposed rotation carries volume to image
    return torch.cat([lumps[:, :2] @ turn.T - torch.tensor(origin), lumps[:, 2:]], dim=1)


def test_rings_and_pixels_carry_the_same_image() -> None:
    frame = working_frame(Grid(BOX, PIXEL), 170.0, 17.0)
    pixels = Pixels(frame, torch.device("cpu"))
    image, rings = picture(LUMPS) * pixels.mask, samples(LUMPS, grid=frame.polar)
    assert torch.allclose(pixels.rings(image[None])[0], rings, atol=1e-3)
    assert (pixels.images(rings[None])[0] - image).norm() < 0.003 * image.norm()


@pytest.fixture(scope="module")
def three() -> torch.Tensor:
    """Rings of three classes."""
    other, last = LUMPS.clone(), LUMPS.clone()
    other[0, :2], last[2, 1] = torch.tensor([0.0, 6.0]), 2.0
    return torch.stack([samples(one) for one in (LUMPS, other, last)])


def trial(classes: torch.Tensor, **changes: Any) -> Trial:
    found = Trial(
        class_references(classes, 24, GRID),
        torch.full((RINGS,), 0.002),
        shift_grid(3, 1),
        BOX,
        torch.full((len(classes),), 1 / len(classes)).log(),
        Tiling(),
    )
    return replace(found, **changes)


def test_psi_and_origin_are_those_that_an_image_was_made_with(three: torch.Tensor) -> None:
    shifts = shift_grid(3, 1)
    for psi, origin in ((5, (2.0, -1.0)), (17, (0.0, 3.0)), (0, (-1.0, 0.0))):
        image = samples(rotated(LUMPS, psi * 2 * math.pi / 24, origin))[None]
        found, _ = compare(trial(three), image, torch.ones(1, RINGS, GRID.half))
        assert int(found.number) == 0 and int(found.psi) == psi
        assert tuple(shifts[found.shift[0]].tolist()) == origin


def test_posterior_of_the_classes_is_that_of_every_pose_summed(three: torch.Tensor) -> None:
    """Beside likelihoods of Gaussian noise, one pose after the other."""
    rng = torch.Generator().manual_seed(1)
    ctf = torch.rand(4, RINGS, GRID.half, generator=rng)
    images = torch.stack([samples(rotated(LUMPS, 0.3 * n, (1.0, 0.5))) for n in range(4)]) * ctf
    images = images + 0.02 * torch.randn(images.shape, generator=rng, dtype=torch.complex64)
    hard = trial(three, noise=torch.full((RINGS,), 0.05))
    found, _ = compare(hard, images, ctf)
    area = (GRID.sample_area()[:, None] / 0.05).double()  # of half a plane, whose mates add as much
    phase, likely = shift_phase(GRID.points(), hard.shifts, BOX), []
    for number in range(24):
        angle = torch.full((len(images),), number * 2 * math.pi / 24)
        turned_ctf = turned(ctf.to(images.dtype), angle).real[:, None]
        for shift in phase:
            moved = turned(images * shift, angle)[:, None]
            misfit = (moved - turned_ctf * three).abs().double().square() - moved.abs().square()
            likely.append(-(misfit * area).sum(dim=(2, 3)))
    every = torch.stack(likely) - math.log(len(likely) * 3)
    evidence = every.logsumexp(dim=0)
    assert torch.allclose(found.by_class.double(), evidence.softmax(dim=1), atol=2e-3)
    assert torch.allclose(found.log_evidence.double(), evidence.logsumexp(dim=1), atol=0.05)


def test_class_similarity_gives_every_class_its_share(three: torch.Tensor) -> None:
    images = torch.stack([samples(LUMPS)] * 3)
    ctf = torch.ones(3, RINGS, GRID.half)
    hard = trial(three, noise=torch.full((RINGS,), 2.0), similarity=0.3)
    found, sums = compare(hard, images, ctf)
    expected = shares(found.by_class, 0.3).sum(dim=0)
    assert torch.allclose(sums.weight[:, 5].mean(dim=1), expected, rtol=1e-2)


def test_at_given_poses_the_same_class_has_the_same_evidence(three: torch.Tensor) -> None:
    psi = torch.tensor([0.0, 3.0, 8.0]) * 2 * math.pi / 24
    images = torch.stack([samples(rotated(LUMPS, float(p), (0.0, 0.0))) for p in psi])
    ctf, noise = torch.rand(3, RINGS, 1).expand(3, RINGS, GRID.half), torch.full((RINGS,), 0.01)
    still = trial(three, noise=noise, shifts=torch.zeros(1, 2))
    posed = turned(images, psi), turned(ctf.to(images.dtype), psi).real
    prior = still.log_prior
    found, sums = compare_at_poses(three, posed[0], posed[1], noise, prior, GRID)
    free, free_sums = compare(still, images, ctf)
    # One pose holds nearly all of the posterior: its evidence lacks the prior of 24 angles.
    lost = free.log_evidence - found.log_evidence + math.log(24)
    assert torch.allclose(lost, torch.zeros(3), atol=0.05)
    assert torch.allclose(sums.data[0], free_sums.data[0], atol=1e-3 * float(sums.data.abs().max()))
    assert torch.allclose(sums.residual, free_sums.residual, rtol=1e-2, atol=1e-4)


def test_images_of_nothing_keep_no_class_alive() -> None:
    certain = torch.eye(4)[[0, 0, 0, 1]]
    nothing = torch.full((6, 4), 0.25)
    found = sure_shares(torch.cat([certain, nothing]))
    assert torch.equal(found, torch.tensor([0.75, 0.25, 0.0, 0.0]))


def test_a_small_class_gets_half_of_the_largest() -> None:
    rng = torch.Generator().manual_seed(0)
    data = torch.randn(3, 200, 50, dtype=torch.complex64, generator=rng) * 10
    weight, priors = torch.full((3, 200, 50), 8.0), torch.tensor([0.7, 0.295, 0.005])
    anew, halves, pairs = begun_anew(data, weight, priors, seed=3)
    assert pairs == [(2, 0)] and torch.equal(anew[1], data[1])
    assert torch.allclose(anew[0] + anew[2], data[0], atol=1e-4)
    assert torch.allclose(halves[[0, 2]], torch.full((2, 200, 50), 4.0))
    # Random halves of a sum of variance 8 differ by that variance.
    assert float((anew[0] - anew[2]).abs().square().mean()) == pytest.approx(8, rel=0.05)


def measures(number: int, **changes: float) -> AverageMeasures:
    typical = {"evidence": 40.0, "resolution": 15.0, "strength": 1.0, "detail": 0.2, "misfit": 0.5}
    shape = {"offset": 0.02, "rim": 0.2, "slope": 0.0, "likeness": 0.95}
    return AverageMeasures(number, **({"particles": 50} | typical | shape | changes))


@pytest.mark.parametrize(
    ("changes", "decision", "kind"),
    [
        ({}, "keep", "particle"),
        ({"slope": 0.3, "rim": 0.7}, "reject", "edge"),
        ({"strength": 4.0, "detail": 0.3}, "reject", "ice"),
        ({"offset": 0.3}, "reject", "off-centre"),
        ({"misfit": 2.0, "rim": 0.6}, "reject", "several"),
        ({"misfit": 2.0}, "doubtful", "particle"),
        ({"misfit": 2.0, "rim": 0.3}, "reject", "several"),
        ({"detail": 0.01}, "doubtful", "particle"),
        ({"detail": 0.01, "rim": 0.3}, "reject", "noise"),
        ({"evidence": 0.2}, "reject", "noise"),
        ({"particles": 1}, "reject", "empty"),
        ({"detail": 0.07}, "doubtful", "particle"),
    ],
)
def test_kinds_of_junk_are_told_apart(changes: dict[str, float], decision: str, kind: str) -> None:
    found = judge([measures(n) for n in range(1, 20)] + [measures(20, **changes)], nothing=False)
    assert {one.decision for one in found[:19]} == {"keep"}
    assert (found[-1].decision, found[-1].kind) == (decision, kind) and found[-1].reason
    assert (found[-1].score >= 0.5) == (decision != "reject")


# The job


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Particles of two views, which differ by 90 degrees about an axis in the plane."""
    folder = tmp_path_factory.mktemp("views")
    images, frames = [], []
    star = simulated(folder / "all", 3000, BOX, PIXEL, snr=1.0, seed=8)
    table = read_particles(star)
    for low, high in ((0, 18), (80, 100)):
        rot = np.abs((table.rot - 30 + 180) % 360 - 180)
        near = np.flatnonzero((table.tilt >= low) & (table.tilt < high) & ((rot < 12) | (low == 0)))
        images.append(open_images(table).read(near[:60]))
        frames.append(read_star(star)["particles"].frame[near[:60].tolist()])
    with stack_writer(folder / "two.mrcs", BOX, sum(map(len, images)), PIXEL) as file:
        file.append(np.concatenate(images))
    frame = pl.concat(frames)
    names = pl.Series([f"{n + 1:06d}@two.mrcs" for n in range(len(frame))])
    blocks = read_star(star)
    blocks["particles"] = blocks["particles"].with_frame(frame.with_columns(rlnImageName=names))
    write_star(folder / "two.star", blocks.values())
    return folder / "two.star"


def config(star: Path, out: Path, **options: Any) -> Class2dConfig:
    given = {"classes": 4, "mask_diameter": MASK, "resolution_limit": 20.0, "iterations": 10}
    return Class2dConfig(star, out=out, check=False, **given | options)


@pytest.fixture(scope="module")
def job(views: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_class2d(config(views, tmp_path_factory.mktemp("job") / "job"))


def test_views_make_classes_of_their_own(job: Path, views: Path) -> None:
    table, truth = read_particles(job / "particles.star"), read_particles(views)
    side = truth.tilt > 50
    counts = np.array([np.bincount(table.class_number[side == v], minlength=5) for v in (0, 1)])
    assert counts.max(axis=0).sum() > 0.95 * len(side)
    assert (table.rot == 0).all() and (table.tilt == 0).all()
    # Of a side view, where psi is well defined, found and true angles differ by one turn.
    largest = table.class_number == counts[1].argmax()
    turn = np.exp(1j * np.radians(table.psi - truth.psi)[largest & side])
    assert np.abs(turn.mean()) > 0.9
    assert (table.class_posterior <= 1).all() and table.class_posterior.mean() > 0.9
    record = json.loads((job / "result.json").read_text())
    assert {entry["decision"] for entry in record["classes"]} <= {"keep", "doubtful", "reject"}
    assert record["held_out_evidence"] > 5


def test_outputs_are_where_relion_looks_for_them(
    job: Path, relion: Callable[[str], str], tmp_path: Path
) -> None:
    stack = mrcfile.read(job / "class_averages.mrcs")
    assert stack.shape == (4, BOX, BOX)
    with mrcfile.open(job / "class_averages.mrcs") as file:
        assert file.voxel_size.x == PIXEL
    stats = (relion("relion_image_handler"), "--i", "class_averages.mrcs", "--stats")
    said = subprocess.run(stats, cwd=job, capture_output=True, text=True).stdout
    assert said.count(f"(x,y,z,n)= {BOX} x {BOX} x 1 x 1") == 4 and f"angpix = {PIXEL:g}" in said
    model = (relion("relion_star_printtable"), str(job / "run_model.star"), "data_model_classes")
    columns = ("_rlnReferenceImage", "_rlnClassDistribution", "_rlnEstimatedResolution")
    table = subprocess.run([*model, *columns], capture_output=True, text=True).stdout.split()
    entries = json.loads((job / "result.json").read_text())["classes"]
    for place, entry in enumerate(entries):
        name, share, limit = table[3 * place : 3 * place + 3]
        number, _, path = name.partition("@")
        assert int(number) == entry["class"] and Path(path) == job / "class_averages.mrcs"
        assert float(share) == pytest.approx(entry["fraction"], abs=1e-5)
        assert float(limit) == pytest.approx(entry["resolution"] or 999, rel=1e-3)
    data = read_particles(job / "run_data.star", need_images=False)
    assert np.bincount(data.class_number, minlength=5)[1:].tolist() == [
        e["particles"] for e in entries
    ]


@pytest.mark.slow
def test_relion_goes_on_from_the_averages(
    job: Path, views: Path, relion: Callable[[str], str], tmp_path: Path
) -> None:
    """With our averages RELION tells the views apart, and finds our in-plane angles again."""
    line = (
        f"{relion('relion_refine')} --i {job}/particles.star --ref {job}/run_model.star --o "
        f"{tmp_path}/run --iter 1 --ctf --particle_diameter {MASK} --psi_step 10 --offset_range 3 "
        f"--offset_step 1 --norm --zero_mask --oversampling 1 --ini_high 20 --firstiter_cc"
    )
    done = subprocess.run(line.split(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    stars = (tmp_path / "run_it001_data.star", job / "particles.star", views)
    tables = [read_particles(star) for star in stars]
    theirs, ours, truth = (table.take(table.index_in_stack.argsort()) for table in tables)
    side = truth.tilt > 50
    counts = np.array([np.bincount(theirs.class_number[side == v], minlength=5) for v in (0, 1)])
    assert counts.max(axis=0).sum() > 0.95 * len(side)
    same = theirs.class_number == ours.class_number
    psi = (theirs.psi - ours.psi)[same]
    assert (np.abs((psi + 180) % 360 - 180) < 12).mean() > 0.9


def test_interrupted_it_goes_on_to_the_same_bits(job: Path, views: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(event: Any) -> None:
        if event.get("iteration") == 4 and event["event"] == "classification":
            raise Stopped

    out = tmp_path / "job"
    with pytest.raises(Stopped):
        run_class2d(config(views, out), stop)
    assert not is_finished(out)
    run_class2d(config(views, out, resume=True))
    one, other = (mrcfile.read(folder / "class_averages.mrcs") for folder in (out, job))
    assert (one == other).all()


def test_given_poses_are_kept(job: Path, views: Path, tmp_path: Path) -> None:
    again = run_class2d(
        config(job / "particles.star", tmp_path / "again", align=False, write="star,cs")
    )
    written, star = (read_particles(again / f"particles.{kind}") for kind in ("cs", "star"))
    assert np.array_equal(written.class_number, star.class_number)
    turned = written.rot + written.psi  # one angle, as all are of one view
    assert np.allclose(np.cos(np.radians(turned - star.psi)), 1, atol=1e-6)
    table, before = (read_particles(folder / "particles.star") for folder in (again, job))
    assert np.allclose(table.psi, before.psi, atol=1e-4)
    assert np.allclose(table.origin_x, before.origin_x, atol=1e-4)
    side = read_particles(views).tilt > 50
    assert contingency(table.class_number - 1, side.astype(int), 4).max(axis=1).sum() > 90


def test_the_report_lets_classes_be_chosen(job: Path) -> None:
    text = write_report(job).read_text()
    entries = json.loads((job / "result.json").read_text())["classes"]
    for entry in entries:
        kept = " checked" if entry["decision"] != "reject" else ""
        assert f'<input type="checkbox" value="{entry["class"]}"{kept}>' in text
        assert escape(entry["reason"]) in text
    assert f"vitreous select {job} --out chosen.star" in text and 'src="http' not in text


def test_classes_are_selected_from_the_folder(job: Path, tmp_path: Path) -> None:
    entries = json.loads((job / "result.json").read_text())["classes"]
    kept = {entry["class"] for entry in entries if entry["decision"] != "reject"}
    chosen = run_select(SelectConfig(job, out=tmp_path / "auto.star", auto=True))
    table = read_particles(tmp_path / "auto.star")
    assert set(table.class_number.tolist()) == kept and len(chosen.ranking) == len(entries)
    limit = sorted(entry["resolution"] or 999 for entry in entries)[1]
    run_select(SelectConfig(job, out=tmp_path / "fine.star", min_resolution=limit))
    finest = {entry["class"] for entry in entries if (entry["resolution"] or 999) <= limit}
    assert set(read_particles(tmp_path / "fine.star").class_number.tolist()) == finest
    with pytest.raises(InputError, match=r"reach .* A at best, expected 3 A"):
        run_select(SelectConfig(job, out=tmp_path / "none.star", min_resolution=3.0))


def test_a_search_for_maps_begins_with_the_good_classes(job: Path, tmp_path: Path) -> None:
    run_select(SelectConfig(job, out=tmp_path / "auto.star", auto=True))
    selected = read_particles(tmp_path / "auto.star")
    for config in (
        AbinitConfig(classes2d=job, out=tmp_path / "out"),
        RefineConfig(classes2d=job, out=tmp_path / "out", reference=tmp_path / "map.mrc"),
    ):
        chosen = chosen_particles(config)
        assert chosen.image_name.to_list() == selected.image_name.to_list()
        total = len(read_particles(job))
        assert f"{len(selected)} of the {total} particles in {job} are used" in chosen.notes[-1]
    begun = begin(AbinitConfig(classes2d=job, out=tmp_path / "out", check=False))
    assert len(begun.every[0]) == len(selected) and chosen.notes[-1] in begun.warnings


def test_particles_for_a_search_are_named_once_and_well(job: Path, tmp_path: Path) -> None:
    def chosen(particles: Path | None, classes2d: Path | None) -> None:
        chosen_particles(AbinitConfig(particles, classes2d=classes2d, out=tmp_path / "out"))

    with pytest.raises(OptionError, match="no particles are named"):
        chosen(None, None)
    with pytest.raises(OptionError, match=r"--classes2d: both .* name the particles"):
        chosen(job / "particles.star", job)
    with pytest.raises(InputError, match="is no folder of vitreous class2d"):
        chosen(None, tmp_path)
    junk = tmp_path / "junk"
    shutil.copytree(job, junk)
    record = json.loads((junk / "result.json").read_text())
    record["classes"] = [{**entry, "score": 0.2} for entry in record["classes"]]
    (junk / "result.json").write_text(json.dumps(record))
    blocks = read_star(job / "particles.star")
    table, images = blocks["particles"].frame, read_particles(job).stacks[0]
    names = pl.Series([f"{n + 1:06d}@{images}" for n in range(len(table))])
    blocks["particles"] = blocks["particles"].with_frame(table.with_columns(rlnImageName=names))
    write_star(junk / "particles.star", blocks.values())
    with pytest.raises(InputError, match=r"no class with particles scores 0.5; the best, .* 0.20"):
        chosen(None, junk)


def test_numbers_are_told_in_ranges() -> None:
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3,5,7-8" and ranges([4]) == "4"


@pytest.fixture(scope="module")
def edges(views: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The views twice over, a fifth of them with a piece of an edge, each in its own direction."""
    folder, rng = tmp_path_factory.mktemp("edges"), np.random.default_rng(5)
    table = read_particles(views)
    images = np.concatenate([open_images(table).read(np.arange(len(table)))] * 2)
    y, x = np.indices((BOX, BOX)) - BOX // 2
    for number in range(0, len(images), 5):
        angle = rng.uniform(0, 2 * np.pi)
        side = x * np.cos(angle) + y * np.sin(angle)
        images[number] += 4 * images.std() / (1 + np.exp(rng.uniform(3, 8) - side))
    with stack_writer(folder / "edges.mrcs", BOX, len(images), PIXEL) as file:
        file.append(images)
    blocks = read_star(views)
    frame = pl.concat([blocks["particles"].frame] * 2)
    names = pl.Series([f"{n + 1:06d}@edges.mrcs" for n in range(len(frame))])
    blocks["particles"] = blocks["particles"].with_frame(frame.with_columns(rlnImageName=names))
    write_star(folder / "edges.star", blocks.values())
    return folder / "edges.star"


@pytest.mark.slow
def test_a_second_round_takes_what_the_first_kept(edges: Path, tmp_path: Path) -> None:
    options = {"rounds": 2, "classes": 8, "iterations": 6}
    again = run_class2d(config(edges, tmp_path / "job", **options))
    first = json.loads((again / "round1" / "result.json").read_text())
    record = json.loads((again / "result.json").read_text())
    kept = sum(e["particles"] for e in first["classes"] if e["decision"] != "reject")
    assert record["round"] == 2 and kept < first["input"]["n_particles"]
    assert record["input"]["n_particles"] == kept - first["unlike_others"]


def test_good_particles_leave_rejected_classes(edges: Path) -> None:
    table = read_particles(edges)
    options = Class2dOptions(
        classes=6, mask_diameter=MASK, resolution_limit=20.0, iterations=10, check=False
    )
    loaded = set_up(table, open_images(table), options).loaded(ignore)
    state = went_through(loaded, first_state(loaded), ignore, lambda _: None)
    found = finished(loaded, state, ignore)
    side, edge = table.tilt > 50, np.arange(len(table)) % 5 == 0
    number, good = found.found.number.numpy(), torch.zeros(6, dtype=torch.bool)
    for view in (side, ~side):  # the largest class of each view, as if all others were rejected
        good[np.bincount(number[view & ~edge], minlength=6).argmax()] = True
    before = good.numpy()[number]
    after = sorted_again(loaded, state, found, good)
    now = good.numpy()[after.found.found.number.numpy()]
    assert now[before].all() and after.moved == (now & ~before).sum()
    assert now[~edge & ~before].mean() > 0.8 and now[edge & ~before].mean() < 0.2
    same = after.found.found.number.numpy() == number
    assert same[before].all() and torch.equal(
        after.found.psi[torch.from_numpy(same)], found.psi[torch.from_numpy(same)]
    )
    probability = after.found.found.class_probability
    assert (probability > 0).all() and (probability < 1.001).all()


def test_images_are_judged_by_what_their_average_leaves_unexplained(
    views: Path, tmp_path: Path
) -> None:
    images = open_images(read_particles(views)).read(np.arange(101))
    odd = np.arange(len(images)) % 9 == 0
    beside = picture(torch.tensor([[-3.0, 9.0, 1.0]])).numpy()
    images[odd] += 8.0 * images.std() * beside
    with stack_writer(tmp_path / "two.mrcs", BOX, len(images), PIXEL) as file:
        file.append(images)
    shutil.copy(views, tmp_path / "odd.star")
    table = read_particles(tmp_path / "odd.star")
    options = Class2dOptions(classes=2, mask_diameter=MASK, resolution_limit=20.0, check=False)
    loaded = set_up(table, open_images(table), options).loaded(ignore)
    state = first_state(loaded)
    whole = searched(loaded, state, torch.arange(len(table)), state.rings)
    number, given = whole.result.found.number, Given(whole.origins, whole.psi)
    fit = class_fit(loaded.search, state, number, given, 6)
    twice = replace(state, averages=2 * state.averages)
    assert torch.allclose(class_fit(loaded.search, twice, number, given, 6).scale, fit.scale / 2)
    middle = float(fit.misfit[~odd].median())
    assert (fit.misfit[odd] > 1.5 * middle).float().mean() > 0.9


def test_noise_makes_no_classes(views: Path, tmp_path: Path) -> None:
    count = 200
    with stack_writer(tmp_path / "noise.mrcs", BOX, count, PIXEL) as file:
        file.append(np.random.default_rng(4).normal(size=(count, BOX, BOX)).astype(np.float32))
    blocks = read_star(views)
    frame = pl.concat([blocks["particles"].frame] * 2).head(count)
    names = pl.Series([f"{n + 1:06d}@noise.mrcs" for n in range(count)])
    blocks["particles"] = blocks["particles"].with_frame(frame.with_columns(rlnImageName=names))
    write_star(tmp_path / "noise.star", blocks.values())
    found = run_class2d(config(tmp_path / "noise.star", tmp_path / "job", classes=4))
    record = json.loads((found / "result.json").read_text())
    assert {entry["decision"] for entry in record["classes"]} == {"reject"}
    assert any("hold nothing that class averages explain" in w for w in record["warnings"])


def test_bad_input_is_told_in_one_line(views: Path, tmp_path: Path) -> None:
    blocks, out = read_star(views), tmp_path / "job"

    def few(count: int, *left_out: str) -> Path:
        frame = blocks["particles"].frame.head(count).drop(left_out)
        names = frame["rlnImageName"].str.replace("@", f"@{views.parent}/")
        part = blocks["particles"].with_frame(frame.with_columns(rlnImageName=names))
        path = tmp_path / "few.star"
        write_star(path, (blocks | {"particles": part}).values())
        return path

    with pytest.raises(OptionError, match="--classes: 200 classes are more than the"):
        run_class2d(config(views, out, classes=200))
    with pytest.raises(InputError, match=r"few.star: 1 particle, expected at least 2"):
        run_class2d(config(few(1), out))
    with pytest.raises(InputError, match=r"no column _rlnAnglePsi; .*--no-align"):
        run_class2d(config(few(50, "rlnAnglePsi"), out, align=False))
    with pytest.raises(OptionError, match="--class-similarity: 2 is outside 0 to 1"):
        run_class2d(config(views, out, class_similarity=2.0))
    small = tmp_path / "small.mrcs"
    with stack_writer(small, 12, 20, PIXEL) as file:
        file.append(np.random.default_rng(0).normal(size=(20, 12, 12)).astype(np.float32))
    frame = blocks["particles"].frame.head(20)
    frame = frame.with_columns(
        rlnImageName=pl.Series([f"{n + 1:06d}@small.mrcs" for n in range(20)])
    )
    optics = blocks["optics"].frame.with_columns(rlnImageSize=pl.lit("12"))
    changed = {
        "optics": blocks["optics"].with_frame(optics),
        "particles": blocks["particles"].with_frame(frame),
    }
    write_star(tmp_path / "small.star", (blocks | changed).values())
    with pytest.raises(InputError, match="a box of 12 px, expected an even one of at least 16"):
        run_class2d(config(tmp_path / "small.star", out))
    assert not out.exists()
