"""One step of the work on micrographs: each by itself, in worker processes, and resumable.

A micrograph's results are its files, written by the worker, and its record: a line of
``micrographs.jsonl``, which is added once the files are whole.  A resumed job keeps what has a
record and does the rest, whatever of it failed before or is new.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vitreous import __version__
from vitreous.errors import InputError
from vitreous.io.atomic import announce, not_written
from vitreous.io.plain import plain
from vitreous.runs.checkpoint import fingerprint
from vitreous.runs.folder import JobFolder
from vitreous.runs.in_ranks import in_ranks, of_first, several
from vitreous.runs.log import read_events
from vitreous.runs.ranks import is_first_rank
from vitreous.runs.replacement import MICROGRAPHS
from vitreous.runs.workers import Failure, in_processes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FORMAT = 2
"""Of the records; raise it whenever a step keeps other ones."""

_FREE = ("workers",)
"""Options that may differ when a job is resumed."""

_MOST_NAMED = 5
"""Failures that the summary names one by one."""


@dataclass(frozen=True)
class Task:
    """One micrograph, or movie.

    Attributes
    ----------
    name : str
        As tables call it; no two are the same.
    thing : object
        What the work is given; it can be pickled.
    files : tuple of str
        What the work writes, by names from the job's folder.  They are told before it begins, so
        that the files of a job that was killed are known as its own.
    stamp : str
        Says what the input is, such as its size: a record with another stamp is not kept.
    """

    name: str
    thing: Any
    files: tuple[str, ...] = ()
    stamp: str = ""


@dataclass(frozen=True)
class Step:
    """What is done with every micrograph, and how.

    Attributes
    ----------
    name : str
        For the progress display, such as ``motion correction``.
    config : dataclass
        The job's options; a job that is resumed must have the same, but for ``workers``.
    workers : int
        Processes, each on one core.
    inputs : str
        Digest of what else the job reads, such as a gain reference.
    free : collection of str
        More options that may differ when the job is resumed.
    """

    name: str
    config: DataclassInstance
    workers: int
    inputs: str = ""
    free: Collection[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of the micrographs.

    Attributes
    ----------
    records : dict
        What the work gave of each, by name, in the order of the tasks.
    failures : dict
        Why others failed, by name, in the order of the tasks.
    """

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """What to tell of the failures at the end: how many, and the first of them."""
        if not self.failures:
            return []
        total, count = len(self.records) + len(self.failures), len(self.failures)
        more = count - _MOST_NAMED
        return [
            f"{count} of {total} failed and {'is' if count == 1 else 'are'} left out; --resume "
            "tries again once the input is mended.",
            *list(self.failures.values())[:_MOST_NAMED],
            *([f"... and {more} more, each in the log."] if more > 0 else []),
        ]


class _Ledger:
    """The file of the records, opened for adding to it."""

    def __init__(self, path: Path, header: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]):
        self._path = path
        announce(path)
        self._file: IO[str] = self._begun(header, kept)

    def _begun(self, header: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]) -> IO[str]:
        """Write anew what is kept, so that no torn line or former failure is left."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            file = temporary.open("w", encoding="utf-8")
            file.writelines(json.dumps(line) + "\n" for line in (header, *kept))
            file.flush()
            temporary.replace(self._path)
        except OSError as error:
            raise not_written(self._path, error) from error
        return file

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a record."""
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise not_written(self._path, error) from error

    def close(self) -> None:
        self._file.close()


def _header(step: Step) -> dict[str, Any]:
    options = fingerprint(step.config, (*_FREE, *step.free))
    return {"format": _FORMAT, "options": options, "inputs": step.inputs}


def _kept(path: Path, header: Mapping[str, Any], tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Lines of a former run whose micrographs need not be done again.

    Raises
    ------
    InputError
        If that run had other options, other input, or was of another version of the program.
    """
    if not path.is_file():
        return []
    lines = read_events(path)
    found, again = lines[0] if lines else {}, "or begin anew with --overwrite"
    for what, words in (
        ("format", f"were written by another version of this program (this is {__version__})"),
        ("options", "were made with other options"),
        ("inputs", "were made with other input beside the micrographs"),
    ):
        if found.get(what) != header[what]:
            raise InputError(
                f"the results {words}", where=path, hint=f"resume as the first run was, {again}"
            )
    wanted = {task.name: task for task in tasks}
    return [
        line
        for line in lines[1:]
        if (task := wanted.get(line["name"])) is not None
        and line["stamp"] == task.stamp
        and all((path.parent / name).is_file() for name in task.files)
    ]


def _announced(folder: Path, tasks: Sequence[Task]) -> Iterator[Any]:
    """What the workers are given, its files being told as each is handed over."""
    for task in tasks:
        for name in task.files:
            announce(folder / name)
        yield task.thing


def _ordered(tasks: Sequence[Task], found: Mapping[str, Any]) -> dict[str, Any]:
    return {task.name: found[task.name] for task in tasks if task.name in found}


def process_micrographs(
    job: JobFolder,
    work: Callable[[Any], Mapping[str, Any]],
    tasks: Sequence[Task],
    step: Step,
) -> Outcome:
    """Do the same work on every micrograph, several at a time, and keep what was done.

    Parameters
    ----------
    job : JobFolder
        Whose log is told of each micrograph, with the progress.
    work : callable
        A function of a module, or a ``functools.partial`` of one: it writes the task's files whole
        or not at all, and returns numbers and words that JSON holds.  A
        :class:`~vitreous.errors.VitreousError` that it raises is that micrograph's alone.
    tasks : sequence of Task
    step : Step

    Raises
    ------
    InputError
        If all failed, or if what a resumed job left was made with other options or input.
    OutputError
        If a record cannot be written.
    """
    if not several():
        outcome = _processed(job, work, tasks, step)
    elif is_first_rank():
        outcome = of_first(_processed(job, work, tasks, step))
    else:
        deque(in_ranks(work, (), step.workers), maxlen=0)  # the first rank says what is done
        outcome = of_first(Outcome())
    if outcome.failures and not outcome.records:
        first = next(iter(outcome.failures.values()))
        raise InputError(f"all {len(tasks)} failed, the first by: {first}", where=step.name)
    return outcome


def _results(
    job: JobFolder, work: Callable[[Any], Any], left: Sequence[Task], step: Step
) -> Iterator[tuple[int, Any]]:
    """What the work gives of each task, with its number, by this process's workers or all ranks."""
    things = _announced(job.path, left)
    if several():
        return in_ranks(work, list(things), step.workers)
    return in_processes(work, things, step.workers, len(left))


def _processed(
    job: JobFolder, work: Callable[[Any], Any], tasks: Sequence[Task], step: Step
) -> Outcome:
    """What became of the micrographs, each kept as soon as it is done."""
    path, header = job.path / MICROGRAPHS, plain(_header(step))
    before = _kept(path, header, tasks)
    records: dict[str, Any] = {line["name"]: line["record"] for line in before}
    failures: dict[str, str] = {}
    left = [task for task in tasks if task.name not in records]
    if before:
        text = f"{len(before)} of {len(tasks)} were done before; {len(left)} are left."
        job.tell({"event": "note", "text": text})
    ledger = _Ledger(path, header, before)
    try:
        results = _results(job, work, left, step)
        for done, (number, found) in enumerate(results, len(records) + 1):
            task = left[number]
            event = {"event": "micrograph", "stage": step.name, "iteration": done}
            event |= {"of": len(tasks), "name": task.name}
            if isinstance(found, Failure):
                named = task.name in found.line
                line = found.line if named else f"{task.name}: {found.line}"
                failures[task.name] = line
                job.tell({**event, "failed": line, "trace": found.trace})
                continue
            records[task.name] = record = plain(found)
            ledger.add({"name": task.name, "stamp": task.stamp, "record": record})
            job.tell({**event, "record": record})
    finally:
        ledger.close()
    return Outcome(_ordered(tasks, records), _ordered(tasks, failures))
