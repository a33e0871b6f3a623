"""Output folders: no input is lost, no result before the next is whole, no two jobs at once."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated

from vitreous.cli.failures import line_of
from vitreous.config.maps import ReconstructConfig
from vitreous.engine import free_memory
from vitreous.errors import InputError, Interrupted, OutputError, VitreousError
from vitreous.io.atomic import atomic_path, write_text
from vitreous.io.models import read_model
from vitreous.io.mrc import open_stack, read_map
from vitreous.io.star import read_star
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.folder import job_folder
from vitreous.runs.log import LOG, read_events
from vitreous.runs.record import write_record
from vitreous.runs.replacement import CHECKPOINT, foreign, unfinished
from vitreous.runs.targets import spare_inputs, spared


@dataclass(frozen=True)
class Config:
    """Options of a job that writes one word."""

    particles: Path
    out: Path
    overwrite: bool = False
    resume: bool = False


@pytest.fixture
def star(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "particles.star"
    path.parent.mkdir()
    path.write_text("input")
    return path


def run(config: Config, word: str, *, checkpoint: bool = False, error: object = None) -> None:
    with job_folder("abinit", config) as job:
        job.tell({"event": "start"})
        if checkpoint:
            write_text(job.path / CHECKPOINT, word)
        write_text(job.path / "map.mrc", word)
        if error is not None:
            raise error  # type: ignore[misc]
        write_record(job.path, {"word": word})


def word_in(out: Path) -> str:
    record = json.loads((out / "result.json").read_text())
    assert (out / "map.mrc").read_text() == record["word"]
    return str(record["word"])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_result_is_replaced_only_when_asked(star: Path, tmp_path: Path) -> None:
    config = Config(star, tmp_path / "job")
    run(config, "first")
    with pytest.raises(OutputError, match="not empty; pass --overwrite"):
        run(config, "second")
    assert word_in(config.out) == "first"
    run(Config(star, config.out, overwrite=True), "second")
    assert word_in(config.out) == "second"
    assert names(tmp_path) == {"data", "job"}


@pytest.mark.parametrize("error", [ValueError("wrong"), MemoryError(), KeyboardInterrupt()])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_job_that_fails_leaves_the_former_result(
    star: Path, tmp_path: Path, error: BaseException, checkpoint: bool
) -> None:
    config = Config(star, tmp_path / "job", overwrite=True)
    run(config, "first")
    with pytest.raises(type(error)):
        run(config, "second", checkpoint=checkpoint, error=error)
    assert word_in(config.out) == "first"
    assert unfinished(config.out).exists() == checkpoint
    if checkpoint:
        run(Config(star, config.out, resume=True), "third", checkpoint=True)
        assert word_in(config.out) == "third"
    assert names(tmp_path) == {"data", "job"}


def test_new_job_that_fails_leaves_nothing(star: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"):
        run(Config(star, tmp_path / "job"), "first", error=ValueError("wrong"))
    assert names(tmp_path) == {"data"}


@pytest.mark.parametrize("checkpoint", [False, True])
def test_new_job_that_is_interrupted_says_so(star: Path, tmp_path: Path, checkpoint: bool) -> None:
    out = tmp_path / "job"
    with pytest.raises(Interrupted) as caught:
        run(Config(star, out), "a", checkpoint=checkpoint, error=Interrupted(signal.SIGTERM))
    assert caught.value.again == ("--resume" if checkpoint else "--overwrite")
    record = json.loads((out / "result.json").read_text())
    assert (record["status"], record["signal"]) == ("interrupted", "SIGTERM")
    assert (out / "map.mrc").exists() == checkpoint
    run(Config(star, out, overwrite=True), "b")
    assert word_in(out) == "b"


@pytest.mark.parametrize("step", ["before", "away", "done"])
def test_replacement_killed_between_its_steps_loses_nothing(
    star: Path, tmp_path: Path, step: str
) -> None:
    out = tmp_path / "job"
    run(Config(star, out), "first")
    run(Config(star, unfinished(out)), "second")
    before = tmp_path / ".job.before"
    if step != "before":
        out.rename(before)
    if step == "done":
        unfinished(out).rename(out)
    with pytest.raises(OutputError, match="not empty"):  # the next job, whatever it is asked for
        run(Config(star, out), "third")
    assert word_in(out) == ("first" if step == "before" else "second")
    run(Config(star, out, overwrite=True), "third")
    assert word_in(out) == "third"
    assert names(tmp_path) == {"data", "job"}


def test_replacement_killed_before_the_new_result_is_whole(star: Path, tmp_path: Path) -> None:
    out = tmp_path / "job"
    run(Config(star, out), "first")
    out.rename(tmp_path / ".job.before")
    with pytest.raises(OutputError, match="not empty"):
        run(Config(star, out), "second")
    assert word_in(out) == "first"


@pytest.mark.parametrize("name", ["notes.txt", "iterations/notes.txt", ".hidden", "particles.star"])
def test_folder_with_files_that_no_job_wrote_is_kept(star: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "job"
    run(Config(star, out), "first")
    (out / "iterations").mkdir()
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=f"no job of this program wrote.*{Path(name).name}"):
        run(Config(star, out, overwrite=True), "second")
    assert (out / name).read_text() == "mine"
    assert word_in(out) == "first"


def test_files_that_come_while_the_job_runs_are_kept(star: Path, tmp_path: Path) -> None:
    out = tmp_path / "job"
    run(Config(star, out), "first")
    with job_folder("abinit", Config(star, out, overwrite=True)) as job:
        write_text(job.path / "map.mrc", "second")
        (out / "notes.txt").write_text("mine")
        write_record(job.path, {"word": "second"})
    assert word_in(out) == "second"
    assert (tmp_path / ".job.before" / "notes.txt").read_text() == "mine"


def test_report_and_leftovers_of_a_killed_job_are_its_own(star: Path, tmp_path: Path) -> None:
    out = tmp_path / "job"
    run(Config(star, out), "first")
    (out / "report.html").touch()
    (out / ".map.mrc.4711.part").touch()
    assert foreign(out) == []
    run(Config(star, out, overwrite=True), "second")
    assert word_in(out) == "second"


@pytest.mark.parametrize(
    "name", ["data", ".", "data/..", "link", "data/particles.star", "elsewhere"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_output_never_holds_or_is_an_input(
    star: Path, tmp_path: Path, name: str, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``elsewhere`` holds a link that the input is found by; all of it is a job's own folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "elsewhere").mkdir()
    given = tmp_path / "elsewhere" / "particles.star"
    given.symlink_to(star)
    for folder in ("data", "elsewhere"):
        (tmp_path / folder / LOG).write_text('{"event": "wrote", "file": "particles.star"}\n')
    with pytest.raises(OutputError, match=r"(is|holds) the input"):
        run(Config(given, Path(name), overwrite=overwrite), "word")
    assert given.read_text() == star.read_text() == "input"
    assert names(tmp_path) == {"data", "link", "elsewhere"}


def test_hard_link_to_an_input_counts(star: Path, tmp_path: Path) -> None:
    twin, folder = tmp_path / "twin.star", tmp_path / "job"
    folder.mkdir()
    for path in (twin, folder / "other.star"):
        path.hardlink_to(star)
    with pytest.raises(OutputError, match="is the input"):
        spared(twin, [star], overwrite=True)
    with pytest.raises(OutputError, match="holds the input"):
        spare_inputs(folder, [star])


def test_second_job_ends_at_once(star: Path, tmp_path: Path) -> None:
    config = Config(star, tmp_path / "job")
    with job_folder("abinit", config) as job:
        write_text(job.path / "map.mrc", "first")
        for options in ({}, {"overwrite": True}):
            with pytest.raises(VitreousError, match=r"another job|not empty"):
                run(Config(star, config.out, **options), "second")
        write_record(job.path, {"word": "first"})
    assert word_in(config.out) == "first"


_HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_folders import Config, job_folder
with job_folder("abinit", Config(Path(sys.argv[2]), Path(sys.argv[3]), overwrite=True)) as job:
    print("begun", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(star: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose job is at work in a folder."""
    words = [sys.executable, "-c", _HOLD, str(Path(__file__).parent), str(star), str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def test_job_of_another_process_is_named_and_once_killed_taken_over(
    star: Path, tmp_path: Path
) -> None:
    config = Config(star, tmp_path / "job", overwrite=True)
    with holder(star, config.out) as process:
        with pytest.raises(OutputError, match=rf"another job.*process {process.pid} on "):
            run(config, "second")
        process.kill()
        process.wait()
    told = []
    with job_folder("abinit", config, told.append) as job:
        write_text(job.path / "map.mrc", "second")
        write_record(job.path, {"word": "second"})
    assert word_in(config.out) == "second"
    assert f"killed: process {process.pid}" in told[0]["text"]


def test_nothing_to_resume(star: Path, tmp_path: Path) -> None:
    with pytest.raises(VitreousError, match="no checkpoint"):
        run(Config(star, tmp_path / "job", resume=True), "word")
    assert names(tmp_path) == {"data"}


def test_log_goes_on_when_resumed_and_tells_what_was_written(star: Path, tmp_path: Path) -> None:
    config = Config(star, tmp_path / "job", resume=True)
    with pytest.raises(ValueError, match="wrong"):
        run(Config(star, config.out), "a", checkpoint=True, error=ValueError("wrong"))
    run(config, "b", checkpoint=True)
    events = read_events(config.out / LOG)
    assert [event["event"] for event in events].count("start") == 2
    written = {event["file"] for event in events if event["event"] == "wrote"}
    assert written == {CHECKPOINT, "map.mrc", "result.json"}


def test_files_have_the_permissions_of_new_ones(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "map.mrc") as temporary:
            temporary.touch()
            temporary.chmod(0o600)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "map.mrc").stat().st_mode) == 0o640


def test_overwritten_folder_stays_until_the_end(star: Path, tmp_path: Path) -> None:
    """At no moment while the second job works is the first result away or changed."""
    config = Config(star, tmp_path / "job", overwrite=True)
    run(config, "first")
    with job_folder("abinit", config) as job:
        write_text(job.path / "map.mrc", "second")
        assert word_in(config.out) == "first"
        assert job.path == unfinished(config.out)
        assert (job.path / LOG).is_file()
        write_record(job.path, {"word": "second"})
    assert word_in(config.out) == "second"


@pytest.mark.parametrize("at", [0, 1])
def test_interruption_of_the_replacement_waits_for_it(
    star: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    config = Config(star, tmp_path / "job", overwrite=True)
    run(config, "first")
    rename, done = Path.rename, list[Path]()

    def interrupted(path: Path, target: Path) -> Path:
        done.append(path)
        if len(done) == at + 1:
            raise Interrupted(signal.SIGINT)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(Interrupted) as caught:
        run(config, "second")
    assert word_in(config.out) == "second"
    assert caught.value.kept == config.out
    assert names(tmp_path) == {"data", "job"}


def test_interrupted_command_line(tmp_path: Path) -> None:
    from vitreous.cli.failures import interruption_line

    error = Interrupted(signal.SIGTERM)
    words = ["abinit", "my particles.star", "--out", "job", "--overwrite"]
    assert interruption_line(error, words).endswith(
        "vitreous abinit 'my particles.star' --out job --overwrite"
    )
    error.again = "--resume"
    assert interruption_line(error, words) == (
        "interrupted by SIGTERM; go on with: vitreous abinit 'my particles.star' --out job --resume"
    )


def test_folder_beside_which_nothing_can_be_written(
    star: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container's mounted folder: the lock lies within."""
    out = tmp_path / "job"
    out.mkdir()
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
    with job_folder("abinit", Config(star, out)) as job:
        assert (out / ".job.lock").exists()
        with pytest.raises(OutputError, match="another job"):
            run(Config(star, out), "second")
        write_text(job.path / "map.mrc", "first")
        write_record(job.path, {"word": "first"})
    assert word_in(out) == "first"
    assert names(out) == {LOG, "map.mrc", "result.json"}


def test_time_for_the_lock_is_short(star: Path, tmp_path: Path) -> None:
    with holder(star, tmp_path / "job"):
        began = time.monotonic()
        with pytest.raises(OutputError, match="another job"):
            run(Config(star, tmp_path / "job"), "word")
        assert time.monotonic() - began < 2


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file grows beyond this size, as on a full disk; writing then fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kilobytes", [0, 2, 100, 1000])
def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path, kilobytes: int) -> None:
    with (
        files_of_at_most(1024 * kilobytes),
        pytest.raises(OutputError, match=r"cannot be written: File too large"),
    ):
        simulated(tmp_path / "data", 300)
    assert not (tmp_path / "data").exists()


def test_full_disk_under_a_checkpoint_keeps_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / CHECKPOINT, Config(Path("a.star"), tmp_path))
    checkpoint.write({"maps": torch.ones(10)}, {"iteration": 1})
    with files_of_at_most(10_000), pytest.raises(OutputError, match="cannot be written"):
        checkpoint.write({"maps": torch.ones(10_000)}, {"iteration": 2})
    assert checkpoint.read(lambda tensors, record: record["iteration"]) == 1
    assert names(tmp_path) == {CHECKPOINT}


def test_stack_that_shrinks_while_it_is_read(small_stack: Path, tmp_path: Path) -> None:
    path = tmp_path / "particles.mrcs"
    path.write_bytes(small_stack.with_name("particles.mrcs").read_bytes())
    stack = open_stack(path)
    os.truncate(path, path.stat().st_size // 2)
    assert stack.read(np.array([0, 7])).shape == (2, 32, 32)
    with pytest.raises(InputError, match="ends before its image 300"):
        stack.read(np.array([299]))
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        stack.read(np.array([0]))


def test_job_whose_stack_shrinks_ends_in_one_line(small_stack: Path, tmp_path: Path) -> None:
    for name in ("particles.star", "particles.mrcs"):
        (tmp_path / name).write_bytes(small_stack.with_name(name).read_bytes())

    def cut(event: Mapping[str, object]) -> None:
        if event["event"] == "start":
            os.truncate(tmp_path / "particles.mrcs", 100_000)

    config = ReconstructConfig(tmp_path / "particles.star", out=tmp_path / "job")
    with pytest.raises(InputError, match=r"particles.mrcs: ends before its image \d+") as caught:
        run_reconstruct(config, cut)
    assert line_of(caught.value) == caught.value.line()  # which main() ends with code 2 for
    assert not config.out.exists()


def test_pipes_are_no_input(tmp_path: Path) -> None:
    for name, read in (("a.star", read_star), ("a.mrc", read_map), ("a.pdb", read_model)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match="a pipe or a device, expected a file"):
            read(tmp_path / name)


def test_memory_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has 8 MB, the control groups 5 and 3, a page cache within them 1 MB more."""
    mega = 2**20
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {8 * 1024} kB\n")
    monkeypatch.setattr(free_memory, "_PROC", proc)
    monkeypatch.setattr(free_memory, "_CGROUPS", groups)

    def left() -> float | None:
        found = free_memory.free_memory(torch.device("cpu"))
        return None if found is None else found / mega

    assert left() == 8
    job = groups / "slurm" / "job"
    job.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/slurm/job\n")
    (job / "memory.max").write_text("max\n")
    (job.parent / "memory.max").write_text(f"{6 * mega}\n")
    for folder, used in ((job, 0), (job.parent, mega)):
        (folder / "memory.current").write_text(f"{used}\n")
    assert left() == 5
    old = groups / "memory" / "user"
    old.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("3:cpu,memory:/user\n1:name=systemd:/\n")
    (old / "memory.limit_in_bytes").write_text(f"{4 * mega}\n")
    (old / "memory.usage_in_bytes").write_text(f"{2 * mega}\n")
    (old / "memory.stat").write_text(f"cache 0\ntotal_inactive_file {mega}\n")
    assert left() == 3


def test_memory_limit_of_the_process_counts() -> None:
    """As ulimit -v sets it."""
    code = (
        "import resource, torch; from vitreous.engine.free_memory import free_memory;"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1));"
        "print(free_memory(torch.device('cpu')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**27 < int(found.stdout) <= 2**28
