"""The road from micrographs to a map: how it is planned, kept, gone on with, and told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micrograph_samples import PIXEL, write_micrograph

from vitreous.cli import app
from vitreous.config.picking import PickConfig
from vitreous.config.process import ProcessConfig
from vitreous.errors import InputError, Interrupted, OptionError, OutputError
from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import map_to_cube, project
from vitreous.imaging.simulate import random_matrices
from vitreous.io.atomic import write_text
from vitreous.io.mrc import write_map
from vitreous.io.star import read_star
from vitreous.jobs.process import choices, maps
from vitreous.jobs.process.changes import changes_of
from vitreous.jobs.process.ending import judged
from vitreous.jobs.process.process import run_process
from vitreous.jobs.process.rounds import Chosen
from vitreous.jobs.process.steps import Steps
from vitreous.math.fourier import to_real
from vitreous.preprocessing.picking.diameter import Trial, sizes, standing_out
from vitreous.report.html import write_report
from vitreous.report.job_state import state_of
from vitreous.report.reckoning import Reckoning
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.record import job_record, write_record
from vitreous.runs.replacement import foreign
from vitreous.validate.verdict import NextStep, Verdict


def test_options_of_steps_are_those_of_their_commands() -> None:
    found = changes_of(
        (
            *("pick.fdr=0.05", "abinit.symmetry=O", "class2d.mask-diameter=auto"),
            *("refine.continuous=no", "extract.recentre_on=1,2,-3", "extract.scale=none"),
            "pick.min_distance=90",
        )
    )
    assert found["pick"] == {"fdr": 0.05, "min_distance": 90.0}
    assert found["abinit"] == {"symmetry": "O"} and found["refine"] == {"continuous": False}
    assert found["class2d"] == {"mask_diameter": "auto"}
    assert found["extract"] == {"recentre_on": (1.0, 2.0, -3.0), "scale": None}
    replace(PickConfig("m.star", out="p", diameter=100.0), **found["pick"])


@pytest.mark.parametrize(
    "word,said",
    [
        ("pik.fdr=0.05", "there is no step pik; the steps are import.*do you mean pick"),
        ("pick.fdrr=0.05", "pick has no option fdrr; .*do you mean fdr"),
        ("pick.fdr=little", "unable to convert"),
        ("pick.contrast=grey", 'choose from: "auto"'),
        ("pick.fdr", "is no option of a step; write step.option=value"),
        ("fdr=0.05", "is no option of a step"),
        ("pick.out=here", "out is set by the job itself"),
        ("refine.reference=map.mrc", "set by the job"),
    ],
)
def test_wrong_options_of_steps_are_told_before_anything_runs(
    word: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=rf"(?i)--set: '{word}'.*{said}"):
        run_process(ProcessConfig(("m.mrc",), out=tmp_path / "o", pixel_size=1.0, set=(word,)))
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("diameter,pixel", [(60, 0.8), (140, 1.4), (140, 4.0), (300, 1.1)])
def test_boxes_hold_the_particle_at_pixels_that_classes_need(diameter: float, pixel: float) -> None:
    box = choices.coarse_box(diameter, 1.6, pixel)
    assert box.width >= 1.55 * diameter and box.box % 2 == 0 and box.scale % 2 == 0
    assert box.pixel_size >= pixel and box.pixel_size == pytest.approx(box.box * pixel / box.scale)
    assert box.pixel_size <= max(1.06 * choices.COARSEST, 1.05 * pixel), "Nyquist reaches 10 A"
    assert box.box == box.scale if pixel >= choices.COARSEST else True


def test_pixels_get_finer_only_where_they_hold_the_map_back() -> None:
    at = {"width": 256.0, "original": 1.0}
    assert choices.finer_box(held=4.0, resolution=15.0, **at) is None
    assert choices.finer_box(held=4.0, resolution=None, **at) is None
    assert choices.finer_box(held=1.0, resolution=2.1, **at) is None
    finer = choices.finer_box(held=4.0, resolution=8.4, **at)
    assert finer is not None and finer.pixel_size == pytest.approx(2.1, rel=0.02)
    assert 256 <= finer.width < 1.07 * 256
    again = choices.finer_box(held=2.1, resolution=4.3, **at)
    assert again is not None and again.pixel_size < 1.15


def test_templates_are_the_best_averages_that_differ() -> None:
    entries = [
        {"class": n, "decision": "keep", "particles": 50, "near_duplicates": []}
        for n in range(1, 20)
    ]
    entries[1]["near_duplicates"] = [1]
    entries[2]["decision"], entries[3]["particles"] = "doubtful", 0
    assert choices.templates(entries) == [1, 5, 6, 7, 8, 9, 10, 11]
    assert choices.templates(entries[2:3]) == []


def test_blobs_that_cover_most_tell_the_size() -> None:
    """Small blobs find particles twice, large ones none, and a few contaminants are large."""
    blobs = [2000, 1500, 1100, 950, 900, 300, 12, 12, 12]
    trials = [Trial(size, picks) for size, picks in zip(sizes(), blobs, strict=True)]
    found = standing_out(trials, 4)
    assert found is not None and found.shape == "blob" and found.picks == 900
    assert 115 < found.size < 150 and found.diameter > found.size
    assert standing_out([replace(t, blobs=3, balls=4) for t in trials], 4) is None
    balls = [replace(t, blobs=3, balls=b) for t, b in zip(trials, blobs, strict=True)]
    touching = standing_out(balls, 4)
    assert touching == replace(found, shape="ball", diameter=found.size)


def test_the_verdict_is_the_worse_of_both_maps() -> None:
    solved = {"verdict": "solved", "sentence": "Good.", "next_step": None}
    doubt = {"verdict": "ambiguous", "sentence": "Hm.", "next_step": {"sentence": "Look."}}
    assert judged(solved, doubt)["verdict"] == "ambiguous"
    found = judged(doubt, solved)
    assert found["verdict"] == "ambiguous" and "Hm." in found["sentence"]
    assert found["next_step"] == doubt["next_step"]
    assert judged(solved, solved) == solved


def picking(calls: list[str], stop: bool = False) -> Any:
    """A job in the place of picking, which keeps a record of a micrograph and may be stopped."""

    def run(config: PickConfig, on_event: OnEvent) -> None:
        calls.append("resumed" if config.resume else "begun")
        with job_folder("pick", config, on_event) as job:
            job.tell({"event": "start"})
            write_text(job.path / "micrographs.jsonl", "{}\n")
            job.tell({"event": "micrograph", "stage": "picking", "iteration": 1, "of": 2})
            if stop:
                raise Interrupted(2)
            write_record(job.path, {**job_record("pick", config), "picks": 7})

    return run


def road(
    config: ProcessConfig, calls: list[str], on_event: OnEvent = ignore, *, stop: bool = False
) -> Steps:
    with job_folder("process", config, on_event, in_place=True) as job:
        steps = Steps(job, replace(config, resume=False), {}, lambda _: None, ["pick", "pick"])
        if config.resume:
            steps.load()
        for number in range(2):
            steps.decide("Again.", "To see.")
            pick = PickConfig("m.star", out=steps.folder("pick"), diameter=100.0 + number)
            steps.run("pick", picking(calls, stop and number == 1), pick, lambda r: f"{r['picks']}")
            assert steps.found("size", lambda: 80 + len(calls)) == 81
        write_record(job.path, job_record("process", config))
        return steps


@pytest.mark.parametrize(
    "set_, verdicts, kept",
    [
        ({}, ("ambiguous", "solved"), "002_abinit"),
        ({}, ("ambiguous", "failed"), "001_abinit"),
        ({}, ("solved",), "001_abinit"),
        ({"final_resolution": 20.0}, ("ambiguous",), "001_abinit"),
    ],
)
def test_the_step_that_a_search_in_doubt_names_is_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_: dict[str, Any],
    verdicts: tuple[str, ...],
    kept: str,
) -> None:
    left, asked = list(verdicts), list[float | None]()

    def search(config: Any, on_event: OnEvent) -> None:
        asked.append(config.final_resolution)
        word = left.pop(0)
        step = NextStep(f"Step {len(asked)}.", "vitreous abinit", {"final_resolution": 10.0})
        record = Verdict(word, "So it is.", None if word == "solved" else step).record()
        config.out.mkdir()
        found = {**record, "symmetry": "C1", "symmetry_found": None, "classes": [{}]}
        write_text(config.out / "result.json", json.dumps(found))

    monkeypatch.setattr(maps, "run_abinit", search)
    config = ProcessConfig(("m.mrc",), out=tmp_path / "o", pixel_size=1.0)
    with job_folder("process", config, ignore, in_place=True) as job:
        steps = Steps(job, config, {"abinit": set_}, lambda _: None, ["abinit"])
        star = tmp_path / "particles.star"
        particles = Chosen(star, 9, 9, "dark", [], tmp_path / "averages.mrcs", None, 100.0)
        first = maps.first_map(steps, particles)
    assert first.map == tmp_path / "o" / kept / "class001.mrc" and not left
    assert asked[1:] == [10.0] * (len(verdicts) - 1)
    if verdicts[-1] != "solved":  # a step that was taken is not named again
        assert first.result["next_step"]["sentence"] == f"Step {len(verdicts)}."


def test_a_road_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    config, calls = ProcessConfig(("m.mrc",), out=tmp_path / "road"), list[str]()
    with pytest.raises(Interrupted) as caught:
        road(config, calls, stop=True)
    assert caught.value.again == "--resume" and calls == ["begun", "begun"]
    assert state_of(config.out).state == "interrupted"
    again = replace(config, resume=True)
    steps = road(again, calls)
    assert calls[2:] == ["resumed"], "what is done is not done again"
    assert [one.folder for one in steps.done] == ["001_pick", "002_pick"]
    assert shlex.split(steps.done[1].command)[:3] == ["vitreous", "pick", "m.star"]
    road(again, calls)
    assert len(calls) == 3
    kept = config.out / "steps.json"
    changed = json.loads(kept.read_text())
    changed["done"][0]["options"]["fdr"] = 0.3
    kept.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"001_pick: was done as pick with other options \(fdr"):
        road(again, calls)


def test_a_road_replaces_a_former_one_but_no_other_files(tmp_path: Path) -> None:
    config, calls = ProcessConfig(("m.mrc",), out=tmp_path / "road"), list[str]()
    road(config, calls)
    assert foreign(config.out) == []
    with pytest.raises(OutputError, match="not empty"):
        road(config, calls)
    road(replace(config, overwrite=True), calls[:0])
    (config.out / "mine.txt").write_text("")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        road(replace(config, overwrite=True), calls)


def test_progress_goes_across_the_steps(tmp_path: Path) -> None:
    events: list[Mapping[str, Any]] = []
    road(ProcessConfig(("m.mrc",), out=tmp_path / "road"), [], events.append)
    reckoning, told = Reckoning(), []
    for now, event in enumerate(events):
        found = reckoning(event, float(now))
        told += [] if found is None else [(found.step.words, found.share)]
    assert told == [
        ("step 1 of 2, pick: picking", pytest.approx(0.25)),
        ("step 2 of 2, pick: picking", pytest.approx(0.75)),
    ]


def test_commands_of_steps_are_read_back(tmp_path: Path) -> None:
    steps = road(ProcessConfig(("m.mrc",), out=tmp_path / "road"), [])
    words = shlex.split(steps.done[1].command)
    (read,) = app.parse_args(words[1:], exit_on_error=False, print_error=False)[1].args
    assert read == PickConfig("m.star", out=tmp_path / "road" / "002_pick", diameter=101.0)


def test_what_is_no_movie_or_micrograph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,y\n1,2\n")
    for files, words in (
        ((tmp_path / "p.csv",), "holds coordinates, expected movies"),
        ((), "no files"),
    ):
        with pytest.raises((InputError, OptionError), match=words):
            run_process(ProcessConfig(files, out=tmp_path / "o", pixel_size=1.4))
    with pytest.raises(OptionError, match="--pixel-size: is needed"):
        run_process(ProcessConfig((tmp_path / "m.mrc",), out=tmp_path / "o"))


def noise(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    write_micrograph(folder / "m.mrc", rng.poisson(40, (640, 640)).astype(np.float32))
    return folder / "m.mrc"


def test_noise_ends_in_words_and_keeps_what_was_done(tmp_path: Path) -> None:
    config = ProcessConfig(
        (noise(tmp_path),), out=tmp_path / "road", pixel_size=PIXEL, workers=1, diameter=100.0
    )
    out = run_process(config, report=write_report)
    found = json.loads((out / "result.json").read_text())
    assert found["verdict"] == "failed" and found["status"] == "finished"
    assert "CTF of none of 1 micrographs" in found["sentence"]
    assert found["next_step"]["command"].endswith("--resume")
    assert [step["folder"] for step in found["steps"]] == ["001_import", "002_ctf"]
    assert (out / "002_ctf" / "micrographs_ctf.star").is_file()
    page = write_report(out).read_text()
    assert "./002_ctf/report.html" in page and "Failed: The CTF of none" in page
    assert (out / "002_ctf" / "report.html").is_file()
    events: list[Any] = []
    run_process(replace(config, resume=True, set=("pick.take_rejected=yes",)), events.append)
    assert not [event for event in events if event.get("event") == "step"]


def test_movies_are_corrected_first(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).poisson(4.0, (5, 512, 480)).astype(np.float32)
    write_map(tmp_path / "m.mrc", frames, PIXEL)
    config = ProcessConfig(
        (tmp_path / "m.mrc",), out=tmp_path / "road", pixel_size=PIXEL, dose=1.5, workers=1
    )
    out = run_process(config)
    found = json.loads((out / "result.json").read_text())
    assert [step["job"] for step in found["steps"]][:2] == ["import", "motion"]
    assert found["verdict"] == "failed" and "CTF" in found["sentence"]
    motion = json.loads((out / "002_motion" / "result.json").read_text())
    assert motion["options"]["dose"] == 1.5 and motion["micrographs"] == 1
    assert (out / "002_motion" / "micrographs" / "m_noDW.mrc").is_file()


SIDE, MOVED, LONGEST = 800, 2.5, 150.0
"""Pixels of the micrographs, their size and the molecule's, angstrom."""


def micrographs(folder: Path, count: int, each: int) -> list[np.ndarray]:
    """Views of the built-in molecule and ice under a CTF, in noise; the places, x and y."""
    box, rng, places = 80, np.random.default_rng(1), []
    cube = map_to_cube(built_in_phantom(box, MOVED)[None], box / 2)
    y, x = np.fft.fftfreq(SIDE, MOVED), np.fft.rfftfreq(SIDE, MOVED)
    points = torch.from_numpy(np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    grid = [(50 + 70 * a, 50 + 70 * b) for a in range(11) for b in range(11)]
    for number in range(count):
        views = to_real(project(cube, random_matrices(each, "uniform", rng).float(), box), 2)
        own = np.array([grid[place] for place in rng.permutation(len(grid))[:each]])
        image = np.zeros((SIDE, SIDE))
        for (left, top), view in zip(own - box // 2, views.numpy(), strict=True):
            image[top : top + box, left : left + box] -= view / views.std().item()
        defocus = [torch.tensor([v], dtype=torch.float64) for v in (1.2e4 + 2e3 * number, 0.0)]
        of_all = Defocus(defocus[0], defocus[0], defocus[1], defocus[1])
        ctf = contrast_transfer(points, of_all, Optics(300.0, 2.7, 0.1))[0].numpy()
        wave = np.fft.rfft2(image + rng.standard_normal((SIDE, SIDE))) * ctf
        seen = np.fft.irfft2(wave, s=(SIDE, SIDE)) + 0.7 * rng.standard_normal((SIDE, SIDE))
        folder.mkdir(exist_ok=True)
        write_map(folder / f"m{number}.mrc", (40 + 4 * seen[None]).astype(np.float32), MOVED)
        places.append(own)
    return places


LIGHT = (
    *(
        "extract.scale=24",
        "class2d.iterations=3",
        "class2d.classes=2",
        "class2d.angular_sampling=15",
    ),
    *("abinit.starts=2", "abinit.initial_iterations=3", "abinit.between_iterations=3"),
    *("abinit.final_iterations=3", "abinit.final_resolution=40", "abinit.polish_passes=1"),
    *("abinit.angular_sampling=30", "pick.angle_step=90", "refine.iterations=2"),
    *("select.min_score=0.3", "refine.resolution_limit=40"),
)
"""Options that make the steps short, and the maps coarse."""


@pytest.mark.slow
def test_micrographs_end_in_a_verdict(tmp_path: Path) -> None:
    truth = micrographs(tmp_path / "mics", 2, 80)
    config = ProcessConfig(
        (tmp_path / "mics" / "*.mrc",),
        out=tmp_path / "road",
        pixel_size=MOVED,
        diameter=LONGEST,
        symmetry="C1",
        workers=1,
        threads=1,
        set=LIGHT,
    )
    out = run_process(config, report=write_report)
    found = json.loads((out / "result.json").read_text())
    picks = read_star(out / "003_pick" / "picks.star")["picks"].frame
    places = picks.select("rlnCoordinateX", "rlnCoordinateY").cast(float).to_numpy()
    every = np.concatenate(truth)
    near = np.hypot(*(every[:, None] - places[None]).T).min(axis=0) * MOVED < 0.3 * LONGEST
    assert near.mean() > 0.85 and len(places) < 1.2 * len(every)
    jobs = [step["job"] for step in found["steps"]]
    assert jobs[:6] == ["import", "ctf", "pick", "extract", "class2d", "select"]
    assert "pick" in jobs[6:] and "abinit" in jobs, found["sentence"]
    assert all((out / step["folder"] / "report.html").is_file() for step in found["steps"])
    assert len(found["decisions"]) >= 4 and all(d["why"] for d in found["decisions"])
    assert found["verdict"] in ("solved", "ambiguous", "failed") and found["sentence"]
    assert (found["verdict"] == "failed") or (out / found["map"]).is_file()
    events: list[Mapping[str, Any]] = []
    run_process(replace(config, resume=True), events.append)
    assert not [event for event in events if event.get("event") == "step"]
    assert json.loads((out / "result.json").read_text())["sentence"] == found["sentence"]
    page = write_report(out).read_text()
    assert "./003_pick/report.html" in page and found["decisions"][0]["why"] in page
