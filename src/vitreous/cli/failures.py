"""What a command says when it ends before its time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from signal import SIGINT, Signals

from vitreous.errors import Interrupted, VitreousError

BAD_INPUT = 2
"""Exit code."""

_NO_MEMORY = ("allocate memory", "out of memory", "not enough memory", "can't start new thread")
_CANNOT_LOAD = ("failed to map", "cannot allocate memory", "cannot open shared object")


def line_of(error: BaseException) -> str | None:
    """The one line for an error that is the input's or the machine's doing; None for others."""
    if isinstance(error, VitreousError):
        return error.line()
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror or error}; check the disk, the folder and its permissions"
    text = str(error).lower()
    if isinstance(error, MemoryError) or _any_of(_NO_MEMORY, text):
        return (
            "the memory ran out; give the job more of it, or fewer particles or a coarser "
            "resolution, and end what else runs there"
        )
    if isinstance(error, ImportError) and _any_of(_CANNOT_LOAD, text):
        return f"a library cannot be loaded ({error}); give the program more memory"
    return None


def _any_of(words: Sequence[str], text: str) -> bool:
    return any(word in text for word in words)


def number_of(error: KeyboardInterrupt) -> int:
    """The signal that interrupted the program."""
    return error.number if isinstance(error, Interrupted) else SIGINT


def interruption_line(error: KeyboardInterrupt, arguments: Sequence[str]) -> str:
    """What is said of an interruption: the command line that goes on or begins anew."""
    again, kept = (error.again, error.kept) if isinstance(error, Interrupted) else ("", None)
    words = list(arguments)
    if again:
        words = [word for word in words if word not in ("--overwrite", "--resume")] + [again]
    what = "go on with" if again == "--resume" else "begin anew with"
    if kept is not None:
        state = f"the results are whole and kept in {kept}, the report may be missing; for it, "
    else:
        state = "nothing was kept yet; " if again == "--overwrite" else ""
    command = shlex.join(["vitreous", *words])
    return f"interrupted by {Signals(number_of(error)).name}; {state}{what}: {command}"
