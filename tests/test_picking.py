"""Picking: against brute force, at known places of simulated particles, and on real micrographs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from micrograph_samples import PIXEL, write_micrograph, write_table

from vitreous.config.extract import ExtractConfig
from vitreous.config.picking import PickConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer
from vitreous.io.mrc import stack_writer, write_map
from vitreous.io.star import read_star
from vitreous.jobs.extract.extract import run_extract
from vitreous.jobs.picking.pick import run_pick
from vitreous.preprocessing.picking.balls import match_balls
from vitreous.preprocessing.picking.blobs import blobs_between, match_blobs
from vitreous.preprocessing.picking.contamination import particle_scores, too_strong
from vitreous.preprocessing.picking.decoys import Evidence, evidence, false_discovery_rates
from vitreous.preprocessing.picking.matching import match
from vitreous.preprocessing.picking.peaks import Peaks
from vitreous.preprocessing.picking.pick import Searched, Sought, search
from vitreous.preprocessing.picking.prepared import Prepared, prepare
from vitreous.report.html import write_report

SIDE, DIAMETER, COUNT = 900, 120.0, 22
SOUGHT = Sought(DIAMETER, 0.7 * DIAMETER, DIAMETER, 0.6 * DIAMETER, 0.5 * DIAMETER, True)
OPTICS = Optics(300.0, 2.7, 0.1)


def ball(box: int, diameter: float) -> np.ndarray:
    """Projection of a solid ball, pixels."""
    axis = np.arange(box) - box // 2
    square = 1 - 4 * (axis[:, None] ** 2 + axis**2) / diameter**2
    return np.sqrt(np.clip(square, 0, None))


def places(count: int, seed: int) -> np.ndarray:
    """Places apart from each other and from the border, x and y."""
    rng, found = np.random.default_rng(seed), list[np.ndarray]()
    while len(found) < count:
        place = rng.uniform(70, SIDE - 70, 2)
        if all(np.hypot(*(place - other)) > 1.4 * DIAMETER / PIXEL for other in found):
            found.append(place)
    return np.array(found)


def micrograph(xy: np.ndarray, seed: int = 0, noise: float = 2.0) -> np.ndarray:
    """Dark balls under a CTF of 1.5 micrometres, in white noise."""
    image, box = np.zeros((SIDE, SIDE)), 120
    for x, y in np.round(xy).astype(int):
        image[y - box // 2 : y + box // 2, x - box // 2 : x + box // 2] += (
            ball(box, DIAMETER / PIXEL)[: image[y - box // 2 : y + box // 2].shape[0]]
            if min(x, y, SIDE - x, SIDE - y) >= 60
            else 0
        )
    y, x = np.fft.fftfreq(SIDE, PIXEL), np.fft.rfftfreq(SIDE, PIXEL)
    points = torch.from_numpy(np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    one = [torch.tensor([v], dtype=torch.float64) for v in (15000.0, 15000.0, 0.0, 0.0)]
    ctf = contrast_transfer(points, Defocus(*one), OPTICS)[0].numpy()
    seen = np.fft.irfft2(np.fft.rfft2(image) * ctf, s=image.shape)
    rng = np.random.default_rng(seed)
    return (50 - 2 * seen + noise * rng.standard_normal(seen.shape)).astype(np.float32)


def picked(found: Searched, rate: float = 0.1, side: str = "dark") -> np.ndarray:
    candidates = getattr(found, side)
    (rates,) = false_discovery_rates([candidates.evidence])
    return candidates.places[rates <= rate]


def hits(found: np.ndarray, truth: np.ndarray) -> int:
    near = np.hypot(*(found[:, None] - truth[None]).T) < 0.3 * DIAMETER / PIXEL
    return int(near.any(axis=1).sum())


def test_correlation_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    image, references = rng.normal(5, 2, (40, 44)), rng.normal(size=(3, 8, 8))
    axis = np.arange(8) - 4
    mask = (np.hypot(axis[:, None], axis) <= 3).astype(float)
    found, inside = match(image, references, mask), mask > 0
    for y, x in ((10, 12), (20, 31), (29, 8)):
        patch = image[y - 4 : y + 4, x - 4 : x + 4][inside]
        expected = [float(np.corrcoef(patch, r[inside])[0, 1]) for r in references]
        assert abs(found.score[y, x] - max(expected)) < 1e-5
        assert found.reference[y, x] == int(np.argmax(expected))


def test_rates_are_decoys_over_picks() -> None:
    picks, decoys = np.array([9.0, 8.0, 7.0, 6.0, 2.0]), np.array([1.0, 3.0, 6.5])
    alone = Evidence(picks, np.ones(5), np.ones(5), decoys, 100.0)
    (rates,) = false_discovery_rates([alone])
    np.testing.assert_allclose(rates, [1 / 3, 1 / 3, 1 / 3, 2 / 4, 3 / 5])
    half = Evidence(picks, np.full(5, 0.5), np.ones(5), decoys, 100.0)
    np.testing.assert_allclose(
        false_discovery_rates([half])[0], [1 / 3, 1 / 3, 1 / 3, 3 / 4, 5 / 5]
    )
    # Nine empty micrographs as large make decoys rarer than one of them tells.
    empty = [Evidence(*[np.zeros(0)] * 4, 100.0)] * 9
    np.testing.assert_allclose(false_discovery_rates([alone, *empty])[0], rates / 10)


def test_rims_of_particles_are_no_decoys() -> None:
    allowed = np.ones((100, 100), dtype=bool)
    picks = Peaks(np.array([[50.0, 50.0]]), np.array([5.0]), np.zeros(1, dtype=int))
    around = np.array([[58.0, 50.0], [90.0, 10.0], [44.0, 50.0]])
    decoys = Peaks(around, np.array([6.0, 4.0, 3.0]), np.zeros(3, dtype=int))
    found = evidence(picks, decoys, allowed, 10.0, 6.0, 2.0)
    assert found.decoys.tolist() == [4.0, 6.0], "one beside the pick but higher stays"
    assert abs((1 - found.left[0]) * 1e4 - np.pi * 100) < 15
    assert found.free.tolist() == [1.0], "no pick is better"
    assert found.area == 4e4


def test_rims_are_those_of_particles_alone() -> None:
    allowed = np.ones((100, 100), dtype=bool)
    places = np.array([[30.0, 30.0], [70.0, 70.0]])
    picks = Peaks(places, np.array([5.0, 1.0]), np.zeros(2, dtype=int))
    around = np.array([[38.0, 30.0], [62.0, 70.0]])
    decoys = Peaks(around, np.array([3.0, 0.5]), np.zeros(2, dtype=int))
    every = evidence(picks, decoys, allowed, 10.0, 6.0, 2.0)
    sure = evidence(picks, decoys, allowed, 10.0, 6.0, 2.0, picks.take(np.array([0])))
    assert every.decoys.tolist() == [] and sure.decoys.tolist() == [0.5]
    np.testing.assert_allclose((1 - every.left) * 1e4, [np.pi * 100, 2 * np.pi * 100], rtol=0.03)
    np.testing.assert_allclose((1 - sure.left) * 1e4, [np.pi * 100] * 2, rtol=0.03)
    np.testing.assert_array_equal(every.free, sure.free)


def test_particles_score_within_bounds() -> None:
    scores = np.sort(np.random.default_rng(0).normal(5, 0.5, 80))[::-1]
    picks = Peaks(np.zeros((81, 2)), np.append(scores, 1.0), np.zeros(81, dtype=int))
    least, most = particle_scores(picks)
    assert 1.0 < least < scores.min() and scores.max() < most < 12
    assert particle_scores(picks.take(np.zeros(81, dtype=bool))) == (-np.inf, np.inf)


def test_better_picks_leave_less_room() -> None:
    allowed = np.ones((100, 100), dtype=bool)
    places = np.array([[42.0, 50.0], [58.0, 50.0], [20.0, 20.0]])
    picks = Peaks(places, np.array([4.0, 3.0, 2.0]), np.zeros(3, dtype=int))
    found = evidence(picks, picks.take(np.zeros(3, dtype=bool)), allowed, 10.0, 6.0, 2.0)
    np.testing.assert_allclose((1 - found.free) * 1e4, [0, np.pi * 36, 2 * np.pi * 36], rtol=0.03)
    # Half of the rates of a micrograph where false picks have half of the room.
    scores, decoys = np.array([9.0, 8.0]), np.array([5.0, 8.5])
    rates = [
        false_discovery_rates([Evidence(scores, np.ones(2), free, decoys, 100.0)])[0]
        for free in (np.ones(2), np.full(2, 0.5))
    ]
    np.testing.assert_allclose(rates[1], rates[0] / 2)


def test_what_scores_far_above_particles_is_left_out_with_its_rim() -> None:
    rng = np.random.default_rng(0)
    places, scores = rng.uniform(5, 95, (40, 2)), np.sort(rng.normal(4, 0.5, 40))[::-1]
    ice, rim = np.array([[70.0, 30.0]]), np.array([[80.0, 30.0], [20.0, 80.0]])
    picks = Peaks(np.concatenate([ice, places]), np.append(20.0, scores), np.zeros(41, dtype=int))
    decoys = Peaks(rim, np.array([9.0, 4.0]), np.zeros(2, dtype=int))
    near = too_strong(picks, decoys, (100, 100), 8.0)
    y, x = np.indices(near.shape)
    expected = (np.hypot(x - 70, y - 30) <= 8) | (np.hypot(x - 80, y - 30) <= 8)
    np.testing.assert_array_equal(near, expected)


def test_particles_are_found_and_little_else() -> None:
    good, count, off = 0, 0, list[float]()
    for seed in range(10):
        truth = places(COUNT, seed)
        found = picked(search(micrograph(truth, seed), PIXEL, SOUGHT))
        good, count = good + hits(found, truth), count + len(found)
        off += np.hypot(*(found[:, None] - np.round(truth)[None]).T).min(axis=1).tolist()
    assert good >= 0.95 * 10 * COUNT and good >= 0.9 * count
    assert np.median(off) < 8 / PIXEL


def crowd() -> np.ndarray:
    """Places of balls a little closer than they are wide, as a layer of ferritin lies, x and y."""
    step, rng = 0.92 * DIAMETER / PIXEL, np.random.default_rng(4)
    rows = [(x * step + (y % 2) * step / 2, y * step * 0.87) for y in range(11) for x in range(10)]
    xy = 65 + np.array(rows) + rng.uniform(-2, 2, (110, 2))
    return xy[(xy < SIDE - 65).all(axis=1)]


def test_particles_that_touch_are_found_as_balls(project: Path) -> None:
    truth = crowd()
    found = search(micrograph(truth), PIXEL, replace(SOUGHT, balls=True))
    blobs, balls = picked(found), picked(found, side="balls")
    assert hits(truth, balls) >= 0.9 * len(truth) and hits(balls, truth) >= 0.9 * len(balls)
    assert len(blobs) < 0.7 * len(balls)
    folder = project / "crowd"
    write_micrograph(folder / "c.mrc", micrograph(truth))
    write_table(folder / "mics.star", ["c.mrc"])
    out = run_pick(config(project, "Crowd", micrographs=folder / "mics.star"))
    result = json.loads((out / "result.json").read_text())
    assert (result["shape"], result["contrast"], result["picks"]) == ("ball", "dark", len(balls))
    assert "as balls" in write_report(out).read_text()


def test_noise_gives_next_to_nothing() -> None:
    noise = [micrograph(np.zeros((0, 2)), seed) for seed in range(6)]
    found = [search(image, PIXEL, SOUGHT).dark for image in noise]
    rates = false_discovery_rates([one.evidence for one in found if one is not None])
    assert sum(int((own <= 0.1).sum()) for own in rates) <= 2


def test_padding_and_carbon_are_left_out() -> None:
    good, count = 0, 0
    for seed in range(1, 6):
        truth = places(COUNT, seed)
        image = micrograph(truth, seed)
        image[:40] = image[40]  # as alignment leaves it
        image[:, 700:] = 47 + 3 * (image[:, 700:] - 50)
        result = search(image, PIXEL, SOUGHT)
        assert 0.4 < result.share < 0.8
        found = picked(result)
        assert found[:, 1].min() > 40 and found[:, 0].max() < 720
        left = truth[(truth[:, 0] < 600) & (truth[:, 1] > 110)]
        good, count = good + hits(left, found), count + len(left)
    assert good >= 0.85 * count


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three micrographs with particles, a rejected and a broken one."""
    root = tmp_path_factory.mktemp("project")
    for seed in range(3):
        write_micrograph(root / "m" / f"{seed}.mrc", micrograph(places(COUNT, seed), seed))
    (root / "m" / "bad.mrc").write_bytes((root / "m" / "0.mrc").read_bytes()[:7000])
    (root / "m" / "ice.mrc").write_bytes((root / "m" / "0.mrc").read_bytes())
    names = [f"m/{name}.mrc" for name in ("0", "1", "bad", "2", "ice")]
    verdicts = ["keep", "keep", "keep", "doubtful", "reject"]
    write_table(root / "mics.star", names, vitreousCtfVerdict=verdicts)
    return root


def config(project: Path, name: str, **options: object) -> PickConfig:
    plain = PickConfig(project / "mics.star", out=project / name, diameter=DIAMETER, workers=1)
    return replace(plain, **options)


def test_picks_are_extracted(project: Path) -> None:
    out = run_pick(config(project, "Pick"))
    found = json.loads((out / "result.json").read_text())
    assert found["contrast"] == "dark" and found["shape"] == "blob"
    assert 0.9 * 3 * COUNT < found["picks"] < 1.15 * 3 * COUNT
    assert "bad.mrc" in " ".join(found["warnings"]) and "rejected" in found["warnings"][0]
    for number, coordinates in enumerate(("picks.star", "autopick.star")):
        job = ExtractConfig(
            project / "mics.star",
            out=project / f"Extract{number}",
            coordinates=out / coordinates,
            box=96,
            workers=1,
        )
        star = run_extract(job) / "particles.star"
        assert len(read_star(star)["particles"].frame) == found["picks"]
    page = write_report(out).read_text()
    assert page.count("<svg") >= 3


def test_contrast_is_found(project: Path) -> None:
    light = project / "light"
    for seed in range(3):
        write_micrograph(light / f"{seed}.mrc", -micrograph(places(COUNT, seed), seed))
    write_table(light / "mics.star", [f"{seed}.mrc" for seed in range(3)])
    out = run_pick(config(project, "Light", micrographs=light / "mics.star"))
    assert json.loads((out / "result.json").read_text())["contrast"] == "light"


@pytest.mark.parametrize("kind", ["averages.mrcs", "map.mrc"])
def test_references_find_particles(project: Path, kind: str) -> None:
    path, box = project / kind, 48
    if kind == "averages.mrcs":
        with stack_writer(path, box, 1, 4.2) as stack:
            stack.append(ball(box, DIAMETER / 4.2)[None].astype(np.float32))
    else:
        axis = np.arange(box) - box // 2
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        write_map(path, (radius < DIAMETER / 4.2 / 2).astype(np.float32), 4.2)
    one = write_table(project / f"{kind}.star", ["m/0.mrc"])
    options = {"micrographs": one, "references": path, "angle_step": 45.0, "contrast": "dark"}
    out = run_pick(config(project, f"By_{kind}", **options))
    frame = read_star(out / "picks.star")["picks"].frame
    found = frame.select("rlnCoordinateX", "rlnCoordinateY").cast(float).to_numpy()
    truth = places(COUNT, 0)
    assert hits(truth, found) >= 0.9 * COUNT and hits(found, truth) >= 0.85 * len(found)


def test_bad_input_is_told(project: Path) -> None:
    for options, kind, words in (
        ({"diameter": -3.0}, OptionError, "diameter"),
        ({"fdr": 1.5}, OptionError, "fdr"),
        ({"min_diameter": 500.0}, OptionError, "min-diameter"),
        ({"diameter": 900.0}, InputError, "four particles"),
        ({"references": project / "m" / "bad.mrc"}, InputError, "truncated"),
    ):
        with pytest.raises(kind, match=words):
            run_pick(config(project, "never", overwrite=True, **options))
    empty = project / "empty"
    write_micrograph(empty / "e.mrc", micrograph(np.zeros((0, 2)), 7))
    write_table(empty / "mics.star", ["e.mrc"])
    with pytest.raises(InputError, match="no pick"):
        run_pick(config(project, "none", micrographs=empty / "mics.star"))


@pytest.mark.slow
def test_real_picks_agree_with_published_ones(shared_data: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = shared_data / "micrographs" / "empiar10017"
    name = "Falcon_2012_06_12-14_33_35_0"
    with (folder / f"{name}.csv").open() as file:
        truth = np.array([[float(v) for v in row[:2]] for row in list(csv.reader(file))[1:]])
    pixels = np.array(image.open(folder / f"{name}.jpg"), dtype=np.float32)
    diameter, pixel = 150.0, 1.77
    sought = Sought(diameter, 0.7 * diameter, diameter, 0.6 * diameter, 0.0, True)
    found, free, good = picked(search(pixels, pixel, sought)), list(range(len(truth))), 0
    for place in found:
        off = np.hypot(*(truth[free] - place).T)
        if off.min() < 0.4 * diameter / pixel:
            good += 1
            free.pop(int(off.argmin()))
    assert 2 * good / (len(found) + len(truth)) >= 0.8


def test_ice_at_one_border_says_nothing_at_the_other() -> None:
    image = micrograph(places(COUNT, 1)).astype(float)
    y, x = np.indices(image.shape)
    ice = 60 * np.exp(-(np.hypot(x - 2, y - SIDE / 2) ** 2) / (2 * (20 / PIXEL) ** 2))
    clean, iced = (prepare(one, PIXEL, DIAMETER) for one in (image, image - ice))
    blobs, template = blobs_between(0.7 * DIAMETER, DIAMETER), ball(24, 20)[None]

    def filtered(one: Prepared) -> list[np.ndarray]:
        scores = [
            match_blobs(one, blobs).score,
            match_balls(one, DIAMETER).score,
            match(one.image, template, (template[0] > 0).astype(float)).score,
        ]
        return [one.image, *scores]

    for without, beside in zip(filtered(clean), filtered(iced), strict=True):
        far = np.s_[:, without.shape[1] // 2 :]
        # Ice changes the spread that scores are standardised by.
        factor = (without[far] * beside[far]).sum() / (beside[far] ** 2).sum()
        change = np.abs(factor * beside[far] - without[far])
        assert 0.8 < factor < 1.25 and change.max() < 0.1 * without[far].std()
