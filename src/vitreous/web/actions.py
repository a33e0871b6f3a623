"""A job stopped, or gone on with, from its page."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGTERM

from vitreous.config.jobs import configurations
from vitreous.errors import InputError
from vitreous.report.job_state import RUNNING, JobState, process_of, state_of
from vitreous.runs.command import shell_command


def _own(state: JobState) -> int:
    """The process of a job that is at work on this machine.

    Raises
    ------
    InputError
        If there is none.
    """
    process = process_of(state.events)
    if state.state != RUNNING or process is None:
        raise InputError("is not at work", where=state.folder)
    number, host = process
    if host != socket.gethostname():
        raise InputError(f"is at work on {host}", where=state.folder, hint="stop it there")
    command = Path(f"/proc/{number}/cmdline")
    if command.is_file() and b"vitreous" not in command.read_bytes():
        raise InputError("its process is gone", where=state.folder)
    return number


def stop(folder: Path) -> None:
    """Ask a job to end, as Ctrl-C does: it keeps its checkpoint.

    Raises
    ------
    InputError
        If it is not at work here.
    """
    os.kill(_own(state_of(folder)), SIGTERM)


def resume(folder: Path) -> None:
    """Go on with a job from its checkpoint, in a process of its own.

    Raises
    ------
    InputError
        If it has no checkpoint, or does not tell how it was run.
    """
    state = state_of(folder)
    options, kind = state.result.get("options"), configurations().get(state.job)
    if not state.can_resume or not isinstance(options, dict) or kind is None:
        raise InputError("cannot be gone on with", where=folder, hint="run its command again")
    words = shlex.split(shell_command(state.job, options, kind))[1:]
    subprocess.Popen(
        [sys.executable, "-m", "vitreous", *words, "--resume"],
        cwd=str(state.result.get("directory") or Path.cwd()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


ACTIONS: Mapping[str, Callable[[Path], None]] = {"stop": stop, "resume": resume}
"""By the last part of their address."""
