"""Jobs queued on SLURM, whose programs are stood in for by scripts that do what SLURM documents."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import simulated

from vitreous.cli import app
from vitreous.config.submit import SubmitConfig
from vitreous.errors import OptionError, VitreousError
from vitreous.jobs.submit import QueuedJob, asked_of_slurm, submit

ARGUMENTS = ("refine", "good.star", "--reference", "map.mrc", "--out", "refined")

SBATCH = """#!/bin/bash
export SLURM_JOB_ID=4711 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 \\
    SLURM_LOCALID=0 SLURM_JOB_NODELIST=localhost
cp "$1" submitted.sh
mkdir -p "$(dirname "$(sed -n 's/^#SBATCH --output=//p' "$1" | sed 's/%j/4711/g')")"
(sleep 1; bash "$1" > said.txt 2>&1; echo $? > ended.txt) > /dev/null 2>&1 &
echo "Submitted batch job 4711"
"""
SRUN = """#!/bin/bash
while [ "${1#--}" != "$1" ]; do
    case $1 in --output|--error) shift 2;; *) shift;; esac
done
command=("${@//%j/4711}")
exec "${command[@]}"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with sbatch and srun, which start what they are given at once."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("sbatch", SBATCH), ("srun", SRUN)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def directives(script: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))


def test_the_script_asks_for_what_was_given(tmp_path: Path) -> None:
    config = SubmitConfig(
        partition="gpu", nodes=2, gpus=4, cores=6, memory=200, hours=1.5, account="lab",
        slurm=("constraint=a100",), logs=tmp_path, dry_run=True,
    )  # fmt: skip
    script = submit(config, ARGUMENTS, Path("refined"))
    found = directives(script)
    expected = {
        "partition": "gpu",
        "nodes": "2",
        "ntasks-per-node": "1",
        "gpus-per-node": "4",
        "cpus-per-task": "24",
        "mem": "200GB",
        "time": "90",
        "account": "lab",
        "constraint": "a100",
        "job-name": "vitreous-refine",
    }
    assert expected.items() <= found.items()
    last = shlex.split(script.splitlines()[-1].removeprefix("# "))
    assert last[last.index("-m", 3) :] == ["-m", "vitreous", *ARGUMENTS]
    assert last[last.index("--nnodes") + 1] == "2"
    assert last[last.index("--nproc-per-node") + 1] == "4"
    assert not list(tmp_path.iterdir())


def test_ranks_on_processors_ask_for_no_gpu() -> None:
    asked = asked_of_slurm(SubmitConfig(gpus=0, ranks_per_node=4, cores=2), "refine")
    assert "gpus_per_node" not in asked
    assert asked["cpus_per_task"] == 8


def test_a_job_queued_again_resumes_only_from_a_checkpoint(tmp_path: Path) -> None:
    job = QueuedJob(ARGUMENTS, tmp_path / "refined", 1, 1, 1)
    assert job.again() == job
    (tmp_path / "refined").mkdir()
    (tmp_path / "refined" / "checkpoint.safetensors").touch()
    assert job.again().arguments == (*ARGUMENTS, "--resume")
    assert job.again().again() == job.again()


@pytest.mark.parametrize(
    "options,said",
    [
        ({"nodes": 0}, "--nodes: 0 is less than 1"),
        ({"gpus": -1}, "--gpus: -1 is less than 0"),
        ({"ranks_per_node": 0}, "--ranks-per-node: 0 is less than 1"),
        ({"hours": 0.0}, "--hours: 0 is not a time"),
        ({"slurm": ("exclusive",)}, "--slurm: 'exclusive' is not NAME=VALUE"),
    ],
)
def test_counts_that_cannot_be_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        asked_of_slurm(SubmitConfig(**options), "refine")  # type: ignore[arg-type]


def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VitreousError, match="srun is not on the PATH"):
        submit(SubmitConfig(logs=tmp_path), ARGUMENTS, Path("refined"))


def vitreous(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vitreous", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "words,said",
    [
        ((), "no job is given"),
        (("--", "check", "some.star"), "check does not run on several ranks"),
        (("--", "reconstruct", "a.star", "--out", "b", "--ranks", "2"), "leave it out"),
        (("--", "reconstruct", "a.star", "--out", "b", "--outt", "c"), "Unknown option"),
    ],
)
def test_a_job_that_cannot_run_is_not_queued(
    words: tuple[str, ...], said: str, cluster: Path
) -> None:
    with pytest.raises(OptionError, match=said):
        app(["submit", *words], exit_on_error=False)
    assert not (cluster / "submitted.sh").exists()


@pytest.mark.slow
def test_a_queued_job_runs_its_ranks(cluster: Path) -> None:
    star = simulated(cluster / "data", 300, box=16, pixel_size=15.0, snr=1.0)
    job = ("reconstruct", star, "--threads", "1", "--out")
    options = ("--gpus", "0", "--ranks-per-node", "2", "--cores", "1")
    ended = vitreous("submit", *options, "--", *job, cluster / "queued")
    assert ended.returncode == 0, ended.stderr
    assert "Job 4711 is queued" in ended.stdout
    assert directives((cluster / "submitted.sh").read_text())["cpus-per-task"] == "2"
    waited = "for n in $(seq 600); do [ -f ended.txt ] && exit; sleep 0.2; done"
    subprocess.run(["bash", "-c", waited], check=True)
    assert (cluster / "ended.txt").read_text().strip() == "0", (cluster / "said.txt").read_text()
    assert vitreous(*job, cluster / "alone").returncode == 0
    found, expected = (cluster / name / "map.mrc" for name in ("queued", "alone"))
    assert found.read_bytes() == expected.read_bytes()
