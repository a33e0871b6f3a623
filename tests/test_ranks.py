"""Jobs shared by several ranks: the same bits as on one, and clear ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import simulated
from hypothesis import given
from hypothesis import strategies as st

from vitreous.config.refine import RefineConfig
from vitreous.engine.comm import Ranks, exchanged, ranks
from vitreous.engine.shards import Shards, ShardSums, gather
from vitreous.engine.work import Work
from vitreous.jobs.plan import plan
from vitreous.jobs.plan.plan import run_plan

PARTICLES = 4200
"""Enough for two shards."""


@dataclass
class Numbers:
    values: torch.Tensor

    def add(self, other: Numbers) -> None:
        self.values += other.values

    def tensors(self) -> list[torch.Tensor]:
        return [self.values]


def summed(shards: Shards) -> torch.Tensor:
    """A sum over particles in single precision, whose bits show its order."""
    each = torch.randn(shards.particles, 5, generator=torch.Generator().manual_seed(3))
    sums = ShardSums(shards, lambda: Numbers(torch.zeros(5)))
    for shard, member in shards.members(torch.arange(shards.particles)):
        for row in each[member]:
            sums.of(shard).values += row
    return sums.total().values


def on_rank(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=size)
    shards = Shards(50, 8, spread=True)
    rows, filled = torch.arange(50), torch.zeros(50, dtype=torch.bool)
    for _, member in shards.members(rows):
        filled[member] = True
    gather(shards, rows, [filled])
    assert filled.all()
    assert exchanged([rank * 10 + n for n in range(size)]) == [n * 11 for n in range(size)]
    torch.save(summed(shards), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_sums_are_the_same_bits_on_any_number_of_ranks(size: int, tmp_path: Path) -> None:
    mp.spawn(on_rank, (size, tmp_path), nprocs=size)
    alone = summed(Shards(50, 8, spread=True))
    for rank in range(size):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), alone)


@given(st.integers(1, 9), st.integers(0, 3))
def test_every_shard_has_one_owner_and_ranks_have_shards_in_a_row(size: int, power: int) -> None:
    count = 2**power
    owned = [Ranks(rank, size).own(count) for rank in range(size)]
    assert [shard for own in owned for shard in own] == list(range(count))
    assert max(map(len, owned)) <= -(-count // size)


def test_a_process_by_itself_is_one_rank_with_all_rows() -> None:
    assert ranks() == Ranks(0, 1)
    assert Shards.of(100_000).own_rows == range(100_000)
    assert Shards.of(100_000).count == Shards.of(500_000).count == 8
    assert Shards.of(1_000_000).count == 16
    assert Shards.of(3000).count == 1


def test_a_plan_reckons_with_the_ranks_that_a_job_will_have(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "speeds_on", lambda device: Work(products=1e-9))
    star, reference = stack / "particles.star", stack / "truth.mrc"
    alone, shared = (
        run_plan(RefineConfig(star, reference=reference, out=Path("none"), ranks=count))
        for count in (1, 2)
    )
    assert shared.images.all == alone.images.all / 2
    assert shared.assumed[-1].startswith("each of 2 ranks has ")
    assert shared.threads == max(1, alone.threads // 2)


@pytest.mark.parametrize("count,share", [(1, 1.0), (2, 0.5), (3, 0.375), (8, 0.125), (16, 0.125)])
def test_ranks_share_what_is_done_with_images_by_whole_shards(count: int, share: float) -> None:
    work = Work(products=8.0, voxels=5.0).of_one_rank(Shards.of(100_000, count))
    assert work == Work(products=8.0 * share, voxels=5.0)


def command(*words: str | Path, ranks: int = 1) -> list[str]:
    options = ["--threads", "1", "--ranks", str(ranks)]
    return [sys.executable, "-m", "vitreous", *map(str, words), *options]


def run(*words: str | Path, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words, ranks=ranks), capture_output=True, text=True)


def done(*words: str | Path, ranks: int = 1) -> None:
    ended = run(*words, ranks=ranks)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    return simulated(folder / "data", PARTICLES, box=16, pixel_size=15.0, snr=1.0).parent


@pytest.fixture(scope="session")
def refined_alone(stack: Path) -> Path:
    """The refinement of one rank that nothing disturbs."""
    out = stack.parent / "refined-alone"
    done(*job("refine", stack), "--out", out)
    return out


def same_bits(one: Path, other: Path) -> None:
    written = sorted(one.glob("*.mrc*")) + sorted(one.glob("*.star"))
    assert written
    for path in written:
        expected = path.read_bytes().replace(os.fsencode(one), os.fsencode(other))
        assert (other / path.name).read_bytes() == expected, path.name


JOBS = {
    "reconstruct": (),
    "refine": ("--reference", "truth.mrc", "--iterations", "2"),
    "classify3d": (
        *("--reference", "truth.mrc", "--classes", "2", "--iterations", "1"),
        *("--resolution-limit", "50", "--angular-sampling", "30"),
    ),
    "class2d": ("--classes", "5", "--iterations", "4", "--resolution-limit", "50", "--no-check"),
    "abinit": (
        *("--starts", "2", "--initial-iterations", "4", "--between-iterations", "4"),
        *("--final-iterations", "4", "--final-resolution", "50", "--polish-passes", "1"),
    ),
}


def job(name: str, stack: Path) -> list[str | Path]:
    options = [stack / word if word == "truth.mrc" else word for word in JOBS[name]]
    return [name, stack / "particles.star", *options]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,others",
    [("reconstruct", (2, 4)), ("classify3d", (2,)), ("class2d", (2,)), ("abinit", (2,))],
)
def test_jobs_give_the_same_bits_on_any_number_of_ranks(
    name: str, others: tuple[int, ...], stack: Path, tmp_path: Path
) -> None:
    for count in (1, *others):
        done(*job(name, stack), "--out", tmp_path / f"{count}", ranks=count)
    for count in others:
        same_bits(tmp_path / "1", tmp_path / f"{count}")


@pytest.mark.slow
def test_a_refinement_gives_the_same_bits_on_two_ranks(
    stack: Path, refined_alone: Path, tmp_path: Path
) -> None:
    done(*job("refine", stack), "--out", tmp_path / "job", ranks=2)
    same_bits(refined_alone, tmp_path / "job")


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in found.split()]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0])
def test_a_rank_that_is_killed_ends_the_job_which_then_goes_on(
    rank: int, stack: Path, refined_alone: Path, tmp_path: Path
) -> None:
    words, out = job("refine", stack), tmp_path / "killed"
    process = subprocess.Popen(
        command(*words, "--out", out, ranks=2), stderr=subprocess.PIPE, text=True
    )
    while not (out / "checkpoint.safetensors").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(sorted(children(process.pid))[rank], signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL
    assert f"error: rank {rank} was ended by SIGKILL" in said
    assert "Traceback" not in said
    done(*words, "--out", out, "--resume", ranks=4)
    same_bits(refined_alone, out)


@pytest.mark.slow
def test_torchrun_starts_ranks_again_which_go_on(
    stack: Path, refined_alone: Path, tmp_path: Path
) -> None:
    words, out = job("refine", stack), tmp_path / "restarted"
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    options = ("--max-restarts", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0")
    process = subprocess.Popen(
        (*torchrun, *options, "-m", "vitreous", *words, "--threads", "1", "--out", out),
        stderr=subprocess.PIPE,
    )
    while not (out / "checkpoint.safetensors").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(sorted(children(process.pid))[-1], signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode == 0
    same_bits(refined_alone, out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words,said",
    [
        (("--reference", "missing.mrc"), "missing.mrc"),
        (("--reference", "truth.mrc", "--iterations", "1"), "--iterations: 1 is less than 2"),
    ],
)
def test_bad_input_is_told_once(
    words: tuple[str, ...], said: str, stack: Path, tmp_path: Path
) -> None:
    options = [stack / word if word == "truth.mrc" else word for word in words]
    star = stack / "particles.star"
    ended = run("refine", star, *options, "--out", tmp_path / "job", ranks=2)
    assert ended.returncode == 2
    assert ended.stderr.count("error:") == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ranks_are_at_least_one(tmp_path: Path) -> None:
    ended = run("reconstruct", tmp_path / "none.star", "--out", tmp_path / "job", ranks=0)
    assert ended.returncode == 2
    assert ended.stderr.strip() == "error: --ranks: 0 is less than 1; give 2 or more"
