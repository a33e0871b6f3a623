"""Errors that a user can mend: one clear line, exit code 2, never a traceback."""

from __future__ import annotations

from pathlib import Path


class VitreousError(Exception):
    """Base of every error that is the input's or the environment's doing.

    Parameters
    ----------
    what : str
        What was found and what was expected.
    where : str or Path, optional
        The file (with row or column if known) or the option at fault.
    hint : str, optional
        How to put it right, as an imperative sentence.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None):
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line: where, what, how to mend."""
        parts = [self.what if self.where is None else f"{self.where}: {self.what}"]
        if self.hint:
            parts.append(self.hint)
        return " ".join("; ".join(parts).split())


class InputError(VitreousError):
    """A file or its content cannot be used."""


class OptionError(VitreousError):
    """An option, or a combination of options, cannot be used."""


class OutputError(VitreousError):
    """Output cannot be written where it was asked for."""


class RankLostError(VitreousError):
    """Another process of the same job has ended before its time."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the program to end.

    Parameters
    ----------
    number : int
        Of the signal.

    Attributes
    ----------
    again : str
        Option that the same command needs to go on (--resume), or to begin anew as nothing was
        kept (--overwrite); empty if it needs none.
    kept : Path or None
        Folder of the job's results, if it had come to its end and only a report may be missing.
    """

    def __init__(self, number: int):
        self.number = number
        self.again = ""
        self.kept: Path | None = None
        super().__init__(number)
