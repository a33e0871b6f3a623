"""Worker processes of one core each, for work on many things that need nothing of each other.

Workers are programs of their own, not children of :mod:`multiprocessing`: those run the user's
script again in each, and a script that is not written for that would start the job anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from signal import Signals
from typing import Any, TypeVar

from vitreous.errors import VitreousError
from vitreous.ops.threads import limited_to

T = TypeVar("T")
R = TypeVar("R")

_ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    "NUMBA_NUM_THREADS",
)
"""Variables that keep libraries on one core."""

_PATIENCE = 5.0
"""Seconds that a worker has to end once it is told to."""


@dataclass(frozen=True)
class Failure:
    """Why work on one thing came to nothing.

    Attributes
    ----------
    line : str
        For the user, on one line.
    trace : str
        Where in the program, if it is no fault of the input; else empty.
    """

    line: str
    trace: str = ""


def attempt(work: Callable[[T], R], thing: T) -> R | Failure:
    """What ``work`` gives of a thing, or why it gives nothing."""
    try:
        return work(thing)
    except VitreousError as error:
        return Failure(error.line())
    except MemoryError:
        return Failure("does not fit in memory; use fewer --workers")
    except Exception as error:
        words = " ".join(str(error).split())
        return Failure(
            f"unexpected {type(error).__name__}: {words}; please report it with the job's log",
            traceback.format_exc(),
        )


class _Worker:
    """A process, and what it works on."""

    def __init__(self, work: Callable[[Any], Any]):
        self.link, theirs = Pipe()
        code = f"from vitreous.runs.workers import serve; serve({theirs.fileno()})"
        search = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            env=os.environ | dict.fromkeys(_ONE_THREAD, "1") | {"PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is this process's to answer
        )
        theirs.close()
        self.number = -1
        with suppress(BrokenPipeError):  # told where the first thing is waited for
            self.link.send(work)

    def begin(self, number: int, thing: Any) -> None:
        """Give the worker the next thing."""
        self.number = number
        with suppress(BrokenPipeError):
            self.link.send(thing)

    def outcome(self) -> Any:
        """What was made of the thing, or that the process ended over it."""
        try:
            return self.link.recv()
        except (EOFError, ConnectionResetError):
            code = self._process.wait()
            how = Signals(-code).name if code < 0 else f"exit code {code}"
            return Failure(
                f"its worker process ended by {how}; if memory ran out, use fewer --workers"
            )

    @property
    def is_alive(self) -> bool:
        """Whether the process can take another thing."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.link.close()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(descriptor: int) -> None:
    """Work on what comes through a connection until its other end is closed."""
    link = Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), limited_to(1):
        work = link.recv()
        while True:
            link.send(attempt(work, link.recv()))


def in_processes(
    work: Callable[[T], R], things: Iterable[T], count: int, workers: int
) -> Iterator[tuple[int, R | Failure]]:
    """What ``work`` gives of each thing, with the thing's number, in the order they are done.

    Parameters
    ----------
    work : callable
        A function of a module, or a ``functools.partial`` of one.  It runs on one core.
    things : iterable
        Asked for one by one as there is a worker for it.
    count : int
        How many they are.
    workers : int
        Processes; with one, or for one thing, all is done in this process.

    Notes
    -----
    A thing that ends its process, as where memory runs out, is a failure; another process goes on
    with the rest.  An interruption ends the workers at once.
    """
    if min(workers, count) <= 1:
        with limited_to(1):
            for number, thing in enumerate(things):
                yield number, attempt(work, thing)
        return
    left, busy = iter(enumerate(things)), dict[Connection, _Worker]()
    idle = [_Worker(work) for _ in range(min(workers, count))]
    try:
        while idle or busy:
            for worker, (number, thing) in zip(idle, left, strict=False):
                able = worker if worker.is_alive else _Worker(work)
                able.begin(number, thing)
                busy[able.link] = able
            for worker in idle:
                if worker.link not in busy:
                    worker.end()
            heard = wait(list(busy)) if busy else []
            idle = [busy.pop(link) for link in list(busy) if link in heard]
            for worker in idle:
                yield worker.number, worker.outcome()
    finally:
        for worker in (*idle, *busy.values()):
            worker.end()
