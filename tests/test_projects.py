"""Projects: numbered folders, what came from what, jobs run again, tidied and put away."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from vitreous.cli import app
from vitreous.cli.projects import drop_if_empty, with_folder
from vitreous.config.maps import PostprocessConfig
from vitreous.errors import InputError, OptionError, OutputError
from vitreous.io.mrc import write_map
from vitreous.projects.index import JobRow, jobs_of
from vitreous.projects.page import write_project_page
from vitreous.projects.rerun import rerun_words
from vitreous.projects.tidy import archive, clean, restore
from vitreous.projects.tree import HEIGHT, WIDTH, tree_of
from vitreous.report.job_state import state_of
from vitreous.runs.folder import job_folder
from vitreous.runs.log import EventLog
from vitreous.runs.project import Project, init_project, job_named, new_folder, project_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return init_project(tmp_path, "ribosome")


def finished(project: Project, name: str, job: str, **options: object) -> Path:
    folder = project.root / name
    folder.mkdir()
    record = {"job": job, "status": "finished", "version": "1", "directory": str(project.root),
              "options": {"out": name, **options}}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(record))
    with EventLog(folder / "log.jsonl") as log:
        log("process", pid=1, host="elsewhere")
        log("wrote", file="checkpoint.safetensors")
        log("wrote", file="map.mrc")
    return folder


def test_jobs_without_a_folder_get_numbered_ones(project: Project) -> None:
    words = ["refine", "p.star", "--reference", "m.mrc"]
    assert with_folder(words) == [*words, "--out", "001_refine"]
    assert with_folder(["select", "p.star"])[-1] == "002_select/particles.star"
    (project.root / "007_abinit").mkdir()
    assert with_folder(words)[-1] == "008_refine"
    for named in ([*words, "--out", "x"], [*words, "--out=x"], ["refine", "--help"], ["demo"], []):
        assert with_folder(named) == named


def test_outside_of_a_project_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_folder(["refine", "p.star"]) == ["refine", "p.star"]
    assert project_of(tmp_path) is None


def test_a_job_that_never_began_leaves_no_folder(project: Project) -> None:
    words = with_folder(["refine", "p.star"])
    drop_if_empty(words)
    assert not Path(words[-1]).exists()


def test_a_project_within_a_project_is_refused(project: Project) -> None:
    with pytest.raises(OutputError, match="already"):
        init_project(project.root / "inner", None)


def test_two_jobs_at_once_get_two_folders(project: Project) -> None:
    assert new_folder(project, "refine") != new_folder(project, "refine")


def test_what_came_from_what_is_read_from_the_options(project: Project) -> None:
    finished(project, "001_simulate", "simulate", map="../elsewhere.mrc")
    finished(project, "002_abinit", "abinit", particles="001_simulate/particles.star")
    finished(project, "003_refine", "refine", particles="001_simulate/particles.star",
             reference=["002_abinit/class001.mrc"], symmetry="C1")  # fmt: skip
    (project.root / "notes").mkdir()
    rows = jobs_of(project)
    assert [(row.number, row.job, row.state) for row in rows] == [
        (1, "simulate", "finished"), (2, "abinit", "finished"), (3, "refine", "finished"),
    ]  # fmt: skip
    assert [row.parents for row in rows] == [
        (), ("001_simulate",), ("001_simulate", "002_abinit"),
    ]  # fmt: skip


def test_the_index_is_made_anew_whatever_became_of_it(project: Project) -> None:
    finished(project, "001_abinit", "abinit")
    first, index = jobs_of(project), project.own / "index.sqlite"
    index.write_bytes(b"not a database" * 100)
    assert jobs_of(project) == first
    index.unlink()
    assert jobs_of(project) == first == jobs_of(project)
    assert index.is_file()


def test_an_index_follows_the_folders(project: Project) -> None:
    folder = finished(project, "001_abinit", "abinit")
    jobs_of(project)
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**record, "verdict": "solved"}))
    os.utime(folder / "result.json", (1, 1))
    assert jobs_of(project)[0].headline == "solved"
    finished(project, "002_refine", "refine")
    assert len(jobs_of(project)) == 2
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert [row.folder for row in jobs_of(project)] == ["002_refine"]


def test_nothing_is_written_where_nothing_is_to_be(project: Project) -> None:
    finished(project, "001_abinit", "abinit")
    jobs_of(project, keep=False)
    assert not (project.own / "index.sqlite").exists()


def row(number: int, *parents: int) -> JobRow:
    names = tuple(f"{parent:03d}_x" for parent in parents)
    return JobRow(f"{number:03d}_x", number, "x", "finished", "", "", None, names, "")


def test_children_lie_to_the_right_of_all_their_parents_and_no_boxes_overlap() -> None:
    rows = [row(1), row(2, 1), row(3, 1, 2), row(4, 1), row(5), row(6, 5, 3), row(7, 7, 9)]
    tree = tree_of(rows)
    places = {one.row.number: one for one in tree.jobs}
    assert len(places) == 7 and len(tree.lines) == 7
    for child in rows:
        for parent in (int(name[:3]) for name in child.parents):
            if parent in places and parent != child.number:
                assert places[parent].x + WIDTH < places[child.number].x
    taken = [(one.x, one.y) for one in tree.jobs]
    for a in taken:
        for b in taken:
            assert a == b or abs(a[0] - b[0]) >= WIDTH or abs(a[1] - b[1]) >= HEIGHT


def test_jobs_that_name_each_other_are_placed_all_the_same() -> None:
    assert len(tree_of([row(1, 2), row(2, 1)]).jobs) == 2


def test_a_job_runs_again_with_a_change(project: Project) -> None:
    job = finished(project, "001_abinit", "abinit", particles="p.star", symmetry="C1",
                   solvent_flatten=False, classes=3, seed=4)  # fmt: skip
    words = rerun_words(job, ["symmetry=C2", "--solvent-flatten=true", "seed=none"], None)
    assert words[:2] == ["abinit", "p.star"]
    line = shlex.join(words)
    assert "--out" in words and words[words.index("--out") + 1].endswith("002_abinit")
    assert "--symmetry C2" in line and "--classes 3" in line and "seed" not in line
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    read = bound.arguments["config"]
    assert (read.symmetry, read.classes, read.solvent_flatten) == ("C2", 3, True)


@pytest.mark.parametrize("change", ["symetry=C2", "symmetry", "out=x"])
def test_a_change_of_no_option_is_refused(project: Project, change: str) -> None:
    job = finished(project, "001_abinit", "abinit", particles="p.star", symmetry="C1")
    with pytest.raises(OptionError, match="--set"):
        rerun_words(job, [change], Path("x"))


def test_paths_are_seen_from_where_the_job_is_run_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (project.root / "p.star").touch()
    job = finished(project, "001_abinit", "abinit", particles="p.star")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert rerun_words(job, [], Path("x"))[1] == str(project.root / "p.star")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


def test_cleaning_takes_what_a_finished_job_made_for_itself_only(project: Project) -> None:
    job = finished(project, "001_refine", "refine")
    for name in ("checkpoint.safetensors", "map.mrc", "checkpoint.mine.safetensors"):
        (job / name).write_bytes(b"1234")
    before = contents(job)
    assert clean(job, dry_run=True).size == 4 and contents(job) == before
    assert clean(job, dry_run=False).files == ["checkpoint.safetensors"]
    before.pop("checkpoint.safetensors")
    assert contents(job) == before
    record = json.loads((job / "result.json").read_text())
    (job / "result.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(InputError, match="resume"):
        clean(job, dry_run=False)


def test_cleaning_reaches_the_steps_of_a_road(project: Project) -> None:
    road = finished(project, "001_process", "process")
    shutil.move(finished(project, "001_class2d", "class2d"), road / "001_class2d")
    kept = road / "001_class2d" / "class_averages.mrcs"
    for path in (kept, kept.with_name("checkpoint.safetensors")):
        path.write_bytes(b"1234")
    begun = shutil.move(finished(project, "002_abinit", "abinit"), road / "002_abinit")
    (begun / "result.json").unlink()
    (begun / "checkpoint.safetensors").write_bytes(b"1234")
    assert clean(road, dry_run=False).files == ["001_class2d/checkpoint.safetensors"]
    assert kept.exists() and (begun / "checkpoint.safetensors").exists()


def test_an_archived_job_comes_back_to_the_byte(project: Project) -> None:
    job = finished(project, "001_refine", "refine")
    (job / "iterations").mkdir()
    (job / "iterations" / "a.mrc").write_bytes(bytes(range(256)) * 40)
    before = contents(job)
    target = archive(project, job)
    assert target.is_file() and not (job / "iterations").exists()
    assert [row.folder for row in jobs_of(project)] == ["001_refine"]
    with pytest.raises(InputError, match="archived already"):
        archive(project, job)
    restore(job)
    assert contents(job) == before


def test_the_page_shows_all_jobs_and_escapes_their_names(project: Project) -> None:
    job = finished(project, "001_refine", "refine")
    record = json.loads((job / "result.json").read_text())
    hostile = {"status": "failed", "error": "<script>alert(1)</script>"}
    (job / "result.json").write_text(json.dumps({**record, **hostile}))
    text = write_project_page(project).read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert 'href="./001_refine/report.html"' in text


def test_jobs_are_named_by_number_or_folder(project: Project) -> None:
    job = finished(project, "012_refine", "refine")
    assert all(job_named(project, w).resolve() == job for w in ("12", "012_refine", str(job)))
    with pytest.raises(InputError, match="no job"):
        job_named(project, "13")


# How a job stands


def standing(folder: Path, pid: int, *, locked: bool) -> str:
    folder.mkdir(exist_ok=True)
    with EventLog(folder / "log.jsonl") as log:
        log("process", pid=pid, host=socket.gethostname(), job="refine", options={})
    lock = folder.with_name(f".{folder.name}.lock")
    lock.unlink(missing_ok=True)
    if locked:
        lock.touch()
    return state_of(folder).state


def test_a_job_is_at_work_while_its_process_holds_its_lock(tmp_path: Path) -> None:
    assert standing(tmp_path / "job", os.getpid(), locked=True) == "running"
    assert standing(tmp_path / "job", os.getpid(), locked=False) == "stopped"
    assert standing(tmp_path / "job", 2**22 + 1, locked=True) == "stopped"


def test_a_failed_job_of_a_project_stays_with_its_error(project: Project) -> None:
    for name in ("half1", "half2"):  # one and the same map: the halves are not halves
        write_map(f"{name}.mrc", np.ones((16, 16, 16), np.float32), 2.0)
    folder = project.root / "001_postprocess"
    config = PostprocessConfig(Path("half1.mrc"), Path("half2.mrc"), out=folder)
    with pytest.raises(InputError), job_folder("postprocess", config):
        raise InputError("is constant", where="half1.mrc", hint="give a map")
    state = state_of(folder)
    assert state.state == "failed" and "half1.mrc: is constant" in state.result["error"]
    assert state.result["options"]["half1"] == "half1.mrc"
