"""A job's output folder: new, resumed, or replaced once the new result is whole."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, Signals
from typing import TYPE_CHECKING, Any, Protocol

from vitreous.errors import Interrupted, OutputError, VitreousError
from vitreous.interruption import work_begins
from vitreous.io.atomic import announcing
from vitreous.runs.lock import locked
from vitreous.runs.log import LOG, EventLog, read_events
from vitreous.runs.project import in_project
from vitreous.runs.replacement import (
    RESULT,
    begin_anew,
    clear,
    has_checkpoint,
    is_finished,
    replace_folder,
    settle,
    unfinished,
    working_folder,
)
from vitreous.runs.targets import inputs_of, spare_inputs

OnEvent = Callable[[Mapping[str, Any]], None]
"""What a job tells as it goes: the log, the progress bar."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class ToFolder(DataclassInstance, Protocol):
        """Options of a job that leaves a folder; those that can be resumed have ``resume``."""

        @property
        def out(self) -> Path: ...  # noqa: D102

        @property
        def overwrite(self) -> bool: ...  # noqa: D102


def ignore(_: Mapping[str, Any]) -> None:
    """Take an event and do nothing with it."""


@dataclass(frozen=True)
class JobFolder:
    """Where a job writes, and what it tells as it goes.

    Attributes
    ----------
    out : Path
        The folder as it is called when the job is done.
    path : Path
        As it is called until then.
    tell : callable
        Writes an event to the log and hands it on.
    """

    out: Path
    path: Path
    tell: OnEvent


@dataclass(frozen=True)
class _Begun:
    """A job whose folder is settled.

    Attributes
    ----------
    job : str
    config : dataclass
    path : Path
        Where it writes.
    replaces : bool
        The folder takes the place of another when the job is done.
    resume : bool
    """

    job: str
    config: ToFolder
    path: Path
    replaces: bool
    resume: bool


def owner_of(folder: Path) -> str | None:
    """The process that wrote a folder's log last, in words."""
    try:
        events = [e for e in read_events(folder / LOG) if e.get("event") == "process"]
    except OSError:
        return None
    return f"process {events[-1].get('pid')} on {events[-1].get('host')}" if events else None


def _owner_there(out: Path) -> str:
    """Whose job holds a folder, for the message."""
    owner = owner_of(unfinished(out)) or owner_of(out)
    return "" if owner is None else f" ({owner})"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror}",
            where=folder,
            hint="give a folder that you may write to",
        ) from error


def _begin(job: str, config: ToFolder, resume: bool, in_place: bool) -> tuple[_Begun, list[str]]:
    """Make the folder that a job writes to; what is to be told of it."""
    out = config.out
    settle(out)
    path = working_folder(out, overwrite=config.overwrite, resume=resume)
    if in_place and path != out and not resume:
        clear(out)
        path = out
    begun = _Begun(job, config, path, path == unfinished(out), resume)
    notes = []
    for folder in {out, path}:
        if (owner := owner_of(folder)) and not (folder / RESULT).is_file():
            notes.append(f"{folder} was left by a job that was killed: {owner}.")
    if begun.replaces and not resume and path.exists():
        begin_anew(path)
    if begun.replaces:
        notes.append(f"The job works in {path}; {out} stays as it is until the job is done.")
    _make(path)
    return begun, notes


def _what(begun: _Begun) -> dict[str, Any]:
    """Name, versions and options of a job that has no result yet."""
    from vitreous.runs.record import job_record

    record = job_record(begun.job, begun.config)
    return {name: value for name, value in record.items() if name != "status"}


@contextmanager
def _logged(begun: _Begun, on_event: OnEvent) -> Iterator[OnEvent]:
    """Write all that the job tells, and the name of every file that it writes, to its log."""
    here, announced = begun.path.resolve(), set[Path]()
    with EventLog(begun.path / LOG, append=begun.resume) as log:

        def tell(event: Mapping[str, Any]) -> None:
            log(event)
            on_event(event)

        def announce(target: Path) -> None:
            place = target.parent.resolve() / target.name
            if place.is_relative_to(here) and place not in announced:
                announced.add(place)
                log("wrote", file=str(place.relative_to(here)))

        log("process", pid=os.getpid(), host=socket.gethostname(), **_what(begun))
        with announcing(announce):
            yield tell


def _leave(begun: _Begun, error: BaseException) -> None:
    """Settle what remains of a job that did not come to its end.

    Its log and record stay where it was interrupted, where a checkpoint makes its work worth
    keeping, and in a project, which tells of all its jobs.
    """
    stopped = isinstance(error, KeyboardInterrupt)
    kept = begun.resume or has_checkpoint(begun.path)
    told = (stopped or in_project(begun.path)) and not begun.replaces
    if not kept:
        clear(begun.path, keep=(LOG,) if told else ())
    if (told or kept) and not is_finished(begun.path):
        _record_end(begun, error)
    if isinstance(error, Interrupted):
        error.again = "--resume" if kept else "--overwrite"


def _record_end(begun: _Begun, error: BaseException) -> None:
    from vitreous.runs.record import job_record, write_record

    record = job_record(begun.job, begun.config)
    if isinstance(error, KeyboardInterrupt):
        number = error.number if isinstance(error, Interrupted) else SIGINT
        record |= {"status": "interrupted", "signal": Signals(number).name}
    else:
        said = (
            error.line() if isinstance(error, VitreousError) else f"{type(error).__name__}: {error}"
        )
        record |= {"status": "failed", "error": said}
    with suppress(OutputError):
        write_record(begun.path, record)


def _put_in_place(out: Path) -> None:
    """Replace the former result; an interruption waits until that is done."""
    try:
        replace_folder(out)
    except KeyboardInterrupt as error:
        settle(out)
        if unfinished(out).is_dir():
            replace_folder(out)
        if isinstance(error, Interrupted):
            error.kept, error.again = out, "--overwrite"
        raise


def check_folder(config: ToFolder, inputs: Iterable[Path] = ()) -> None:
    """Require what :func:`job_folder` would of a job's folder; nothing is touched.

    Parameters
    ----------
    config : dataclass
    inputs : iterable of Path
        Files that the job reads besides those that its options name.

    Raises
    ------
    OutputError
        If the folder is or holds an input, or exists and may not be replaced.
    InputError
        If there is nothing to resume.
    """
    spare_inputs(config.out, [*inputs_of(config), *inputs])
    resume = bool(getattr(config, "resume", False))
    working_folder(config.out, overwrite=config.overwrite, resume=resume)


@contextmanager
def job_folder(
    job: str,
    config: ToFolder,
    on_event: OnEvent = ignore,
    inputs: Iterable[Path] = (),
    *,
    in_place: bool = False,
) -> Iterator[JobFolder]:
    """Hold a job's output folder while it works, and settle what becomes of it.

    A job that succeeds has replaced whatever was there.  One that fails or is interrupted leaves a
    former result as it was, and its own work where a checkpoint makes it worth keeping.

    Parameters
    ----------
    job : str
        Name of the command.
    config : dataclass
    on_event : callable
        Is told what the log is told.
    inputs : iterable of Path
        Files that the job reads besides those that its options name, such as image stacks.
    in_place : bool
        A former result is removed first, where the job is asked to replace it: for jobs whose
        files name each other by the folder that they lie in.

    Raises
    ------
    OutputError
        Before anything is touched: if the folder is or holds an input, or files that no job wrote,
        if it exists and may not be replaced, is another job's, or cannot be written.
    InputError
        If there is nothing to resume.
    """
    out, resume = config.out, bool(getattr(config, "resume", False))
    spare_inputs(out, [*inputs_of(config), *inputs])
    _make(out.parent)
    with locked(out.resolve(), lambda: _owner_there(out)):
        begun, notes = _begin(job, config, resume, in_place)
        work_begins()
        try:
            with _logged(begun, on_event) as tell:
                for note in notes:
                    tell({"event": "note", "text": note})
                yield JobFolder(out, begun.path, tell)
        except BaseException as error:
            _leave(begun, error)
            raise
        if begun.replaces:
            _put_in_place(out)
