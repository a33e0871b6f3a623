"""One step of the work on micrographs: failures told, records kept, workers lost and replaced."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from micrograph_samples import write_coordinates, write_micrograph, write_table

from vitreous.config.extract import ExtractConfig
from vitreous.errors import InputError, Interrupted
from vitreous.io.atomic import write_text
from vitreous.io.star import read_star
from vitreous.jobs.extract.extract import run_extract
from vitreous.runs.folder import ignore, job_folder
from vitreous.runs.micrographs import Outcome, Step, Task, process_micrographs
from vitreous.runs.ranks import own_folder
from vitreous.runs.replacement import foreign


@dataclass(frozen=True)
class Options:
    out: Path
    overwrite: bool = False
    resume: bool = False
    workers: int = 1
    scale: int = 2


def doubled(scale: int, out: Path, number: int) -> dict[str, Any]:
    if number == 3:
        raise InputError("is empty, expected frames", where="m3", hint="copy it again")
    if number == 5:
        os.kill(os.getpid(), SIGKILL)
    if number == 6:
        raise RuntimeError("no such thing")
    write_text(out / f"m{number}.txt", str(scale * number))
    return {"value": scale * number, "threads": os.environ.get("OMP_NUM_THREADS")}


def run(options: Options, numbers: list[int], on_event: Any = ignore) -> Outcome:
    with job_folder("step", options, on_event) as job:
        work = partial(doubled, options.scale, job.path)
        tasks = [Task(f"m{n}", n, (f"m{n}.txt",), "1") for n in numbers]
        step = Step("doubling", options, options.workers)
        return process_micrographs(job, work, tasks, step)


def test_what_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    events: list[Any] = []
    found = run(Options(tmp_path / "job", workers=2), [0, 1, 3, 5, 6, 7], events.append)
    assert {name: r["value"] for name, r in found.records.items()} == {"m0": 0, "m1": 2, "m7": 14}
    assert {r["threads"] for r in found.records.values()} == {"1"}
    assert list(found.failures) == ["m3", "m5", "m6"]
    assert found.failures["m3"] == "m3: is empty, expected frames; copy it again"
    assert "SIGKILL" in found.failures["m5"] and "RuntimeError" in found.failures["m6"]
    assert found.warnings[0].startswith("3 of 6 failed")
    assert [e["iteration"] for e in events] == [1, 2, 3, 4, 5, 6]
    assert not foreign(tmp_path / "job"), "the log knows every file"


def test_a_resumed_job_does_the_rest_and_what_is_new(tmp_path: Path) -> None:
    out = tmp_path / "job"
    run(Options(out), [0, 1, 2, 3])
    ledger = out / "micrographs.jsonl"
    ledger.write_text(ledger.read_text() + '{"name": "m9", "st')  # as a killed process leaves it
    (out / "m2.txt").unlink()
    (out / "m1.txt").write_text("kept")
    seen: list[Any] = []
    found = run(Options(out, resume=True, workers=1), [0, 1, 2, 4], seen.append)
    done = [event["name"] for event in seen if event["event"] == "micrograph"]
    assert done == ["m2", "m4"] and list(found.records) == ["m0", "m1", "m2", "m4"]
    assert (out / "m1.txt").read_text() == "kept"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()[1:]]
    assert [line["name"] for line in lines] == ["m0", "m1", "m2", "m4"]
    with pytest.raises(InputError, match="made with other options"):
        run(Options(out, resume=True, scale=3), [0])


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    def stop(event: Any) -> None:
        if event.get("iteration") == 2:
            raise Interrupted(2)

    with pytest.raises(Interrupted) as caught:
        run(Options(tmp_path / "job"), [0, 1, 2], stop)
    assert caught.value.again == "--resume"
    assert list(run(Options(tmp_path / "job", resume=True), [0, 1, 2]).records) == [
        "m0",
        "m1",
        "m2",
    ]


def test_if_all_fail_so_does_the_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all 1 failed, the first by: m3: is empty"):
        run(Options(tmp_path / "job"), [3])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three micrographs with picks, and a broken one."""
    rng = np.random.default_rng(0)
    for number in range(3):
        write_micrograph(tmp_path / f"m{number}.mrc", rng.normal(40, 6, (256, 256)))
    (tmp_path / "bad.mrc").write_bytes((tmp_path / "m0.mrc").read_bytes()[:5000])
    names = ["m0.mrc", "bad.mrc", "m1.mrc", "m2.mrc"]
    write_table(tmp_path / "mics.star", names)
    xy = np.concatenate([rng.uniform(40, 210, (5, 2)) for _ in names])
    write_coordinates(
        tmp_path / "picks.star", xy, rlnMicrographName=[name for name in names for _ in range(5)]
    )
    return tmp_path


def extraction(out: str, **options: Any) -> ExtractConfig:
    picks = Path("picks.star")
    return ExtractConfig("mics.star", out=out, coordinates=picks, box=32, workers=1, **options)


def on_rank(rank: int, size: int, project: Path) -> None:
    os.chdir(project)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
    dist.init_process_group("gloo", f"file://{project}/store", rank=rank, world_size=size)
    for options in ({}, {"resume": True}):
        with own_folder(extraction("shared", **options)) as own:
            assert len(read_star(run_extract(own) / "particles.star")["particles"].frame) == 15
        if rank == 0 and not options:
            Path("shared/images/m1.mrcs").unlink()
        dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_share_micrographs_and_leave_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    run_extract(extraction("alone"))
    mp.spawn(on_rank, (2, project), nprocs=2)
    for one in sorted(Path("alone").rglob("*.mrcs")):
        assert ("shared" / one.relative_to("alone")).read_bytes() == one.read_bytes()
    star = Path("alone/particles.star").read_text().replace("alone/", "shared/")
    assert Path("shared/particles.star").read_text() == star
    assert not foreign(Path("shared"))
    result = json.loads(Path("shared/result.json").read_text())
    assert "bad.mrc" in " ".join(result["warnings"])
    log = Path("shared/log.jsonl").read_text()
    assert "2 of 4 were done before; 2 are left." in log, "the missing stack, and the broken one"
