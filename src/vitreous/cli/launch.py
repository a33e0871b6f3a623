"""``--ranks N``: a job's ranks on this machine, as torchrun starts them."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING, NoReturn

from vitreous.cli.failures import BAD_INPUT
from vitreous.errors import OptionError
from vitreous.interruption import end_at_once, exit_code
from vitreous.report.terminal import print_lines
from vitreous.runs.ranks import SHORT_FORM

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_LOOK = 0.5
"""Seconds between two looks at whether all ranks are there."""


def launch(count: int) -> NoReturn:
    """Run this command on so many ranks, and end as they do.

    Each has its share of the cores, unless the options or OMP_NUM_THREADS say how many.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if count < 1:
        raise OptionError(f"{count} is less than 1", where="--ranks", hint="give 2 or more")
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // count)))
    os.environ[SHORT_FORM] = str(count)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=_LOOK,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "vitreous", *sys.argv[1:])
    except ChildFailedError as error:
        end_at_once(_ended(error))
    except SignalException as error:
        end_at_once(exit_code(error.sigval))
    end_at_once(0)


def _ended(error: ChildFailedError) -> int:
    """Exit code of ranks that failed; a rank that was killed could not say so itself."""
    codes = {rank: int(failure.exitcode) for rank, failure in error.failures.items()}
    killed = {rank: code for rank, code in codes.items() if code < 0 and code != -SIGTERM}
    if not killed:  # SIGTERM is what ends the others
        return max(codes.values()) if max(codes.values()) > 0 else BAD_INPUT
    rank, code = min(killed.items())
    line = (
        f"error: rank {rank} was ended by {Signals(-code).name}, and the job with it; if memory "
        "ran out, give fewer ranks; go on from the last checkpoint with --resume"
    )
    print_lines(line, stderr=True)
    return exit_code(-code)
