"""A job queued on a SLURM cluster: submitit submits a script, in which torchrun starts the ranks.

Source: submitit (MIT), whose executor asks for one task on each machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitreous.config.submit import SubmitConfig
from vitreous.errors import OptionError, VitreousError
from vitreous.runs.replacement import with_checkpoint

try:
    from submitit import JobEnvironment, SlurmExecutor
    from submitit.helpers import DelayedSubmission
except ImportError as error:
    raise VitreousError(
        "vitreous submit needs submitit, which is not installed",
        hint="install it with pip install 'vitreous[slurm]'",
    ) from error

_FIRST_PORT, _PORTS = 29500, 1000
"""Where the ranks of a job meet: a port that follows from its number."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as each machine of its allocation runs it.

    Attributes
    ----------
    arguments : tuple of str
        Of the command ``vitreous``.
    out : Path
        The job's folder.
    nodes, ranks, cores : int
        Machines; ranks on each; cores of each rank.
    """

    arguments: tuple[str, ...]
    out: Path
    nodes: int
    ranks: int
    cores: int

    def torchrun(self, host: str, port: int | str, number: str) -> list[str]:
        """The command for each machine; the ranks meet at a port of the first one."""
        return [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", str(self.nodes)),
            *("--nproc-per-node", str(self.ranks), "--rdzv-backend", "c10d"),
            *("--rdzv-endpoint", f"{host}:{port}", "--rdzv-id", number),
            *("-m", "vitreous", *self.arguments),
        ]

    def __call__(self) -> None:
        """Run this machine's ranks to their end."""
        here = JobEnvironment()
        number = str(here.job_id)
        port = _FIRST_PORT + int("".join(filter(str.isdigit, number)) or 0) % _PORTS
        command = self.torchrun(here.hostnames[0], port, number)
        # SLURM's signal of the time limit is for submitit, which queues the job again.
        ended = subprocess.run(
            command,
            check=False,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": str(self.cores)},
        )
        if ended.returncode:
            raise SystemExit(ended.returncode)

    def again(self) -> QueuedJob:
        """What to run when the job is queued again: it goes on if it left a checkpoint."""
        if with_checkpoint(self.out) is None or "--resume" in self.arguments:
            return self
        return replace(self, arguments=(*self.arguments, "--resume"))

    def checkpoint(self) -> DelayedSubmission:
        """For submitit: the job that follows this one at its time limit."""
        return DelayedSubmission(self.again())


class _Shown(SlurmExecutor):
    """A queue whose script can be shown where there is no SLURM."""

    @classmethod
    def affinity(cls) -> int:
        return 1

    def script(self) -> str:
        """What sbatch is given."""
        return str(self._make_submission_file_text(self._submitit_command_str, ""))


def _further(options: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not (name and equals and value):
            raise OptionError(
                f"{option!r} is not NAME=VALUE",
                where="--slurm",
                hint="write, for example, --slurm constraint=a100",
            )
        found[name.lstrip("-")] = value
    return found


def _require_counts(config: SubmitConfig) -> None:
    least = {"nodes": 1, "gpus": 0, "ranks_per_node": 1, "cores": 1}
    for name, lowest in least.items():
        value = getattr(config, name)
        if value is not None and value < lowest:
            option = f"--{name.replace('_', '-')}"
            raise OptionError(f"{value} is less than {lowest}", where=option, hint="give more")
    if config.hours <= 0:
        raise OptionError(f"{config.hours:g} is not a time", where="--hours", hint="give more")


def asked_of_slurm(config: SubmitConfig, name: str) -> dict[str, Any]:
    """Parameters of submitit's executor.

    Raises
    ------
    OptionError
        For counts and times that cannot be, and options that are not NAME=VALUE.
    """
    _require_counts(config)
    asked: Mapping[str, Any] = {
        "job_name": f"vitreous-{name}",
        "partition": config.partition,
        "nodes": config.nodes,
        "ntasks_per_node": 1,
        "gpus_per_node": config.gpus or None,
        "cpus_per_task": config.cores * config.ranks,
        "mem": None if config.memory is None else f"{config.memory:g}GB",
        "time": max(1, round(config.hours * 60)),
        "account": config.account,
        "qos": config.qos,
        "additional_parameters": _further(config.slurm) or None,
    }
    return {key: value for key, value in asked.items() if value is not None}


def submit(config: SubmitConfig, arguments: tuple[str, ...], out: Path) -> str:
    """Submit a job, or show what would be submitted.

    Parameters
    ----------
    config : SubmitConfig
    arguments : tuple of str
        Of the command ``vitreous``: the job's name and its options.
    out : Path
        The job's folder.

    Returns
    -------
    str
        The script, or the number of the job.

    Raises
    ------
    OptionError
        For options that cannot be used.
    VitreousError
        If there is no SLURM here, or it refuses the job.
    """
    asked = asked_of_slurm(config, arguments[0])
    job = QueuedJob(arguments, out.resolve(), config.nodes, config.ranks, config.cores)
    try:
        queue = (_Shown if config.dry_run else SlurmExecutor)(folder=config.logs / "%j")
    except RuntimeError as error:
        raise VitreousError(
            "srun is not on the PATH, so this machine is none of a SLURM cluster",
            hint="run this where you run sbatch, or add --dry-run to see the script",
        ) from error
    queue._internal_update_parameters(**asked)
    if isinstance(queue, _Shown):
        on_each = shlex.join(job.torchrun("FIRST_NODE", "PORT", "JOB"))
        return f"{queue.script().rstrip()}\n\n# Which runs, on each machine:\n# {on_each}"
    try:
        return str(queue.submit(job).job_id)
    except Exception as error:  # submitit raises its own, and those of subprocess
        reason = str(error).strip().splitlines()
        raise VitreousError(
            f"sbatch refused the job: {reason[-1] if reason else type(error).__name__}",
            hint="see what it asks for with --dry-run",
        ) from error
