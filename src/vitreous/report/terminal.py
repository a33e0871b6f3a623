"""Printing: what files and options hold is shown, and never obeyed by the terminal."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from vitreous.errors import OutputError

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of text; line ends and tabs are none."""


def visible(text: str) -> str:
    """Text with control characters as escapes, such as ``\\x1b``."""
    return _OBEYED.sub(lambda match: ascii(match.group())[1:-1], text)


class _Stream:
    """A standard stream that takes any text, and whose end is not a traceback.

    A reader that has seen enough (``vitreous ... | head``) ends nothing, nor does a terminal that
    is gone while a job tells its progress; results that cannot be written to a file are an error.

    Parameters
    ----------
    stderr : bool
        Standard error, of which nothing is missed; otherwise standard output.
    """

    def __init__(self, stderr: bool):
        self._stderr = stderr

    @property
    def _file(self) -> IO[str]:
        """The stream at the moment, beneath what a progress bar puts over it."""
        stream = sys.stderr if self._stderr else sys.stdout
        if stream is None:  # closed before the program began
            return io.StringIO()
        return cast(IO[str], getattr(stream, "rich_proxied_file", stream))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write text; characters that the stream's encoding lacks become escapes."""
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        try:
            self._file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """Pass on what is written."""
        try:
            self._file.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        # Else what is held back would be written once more, and fail, as the program ends.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
        if not self._stderr and not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"cannot be written: {error.strerror}",
                where="standard output",
                hint="the job itself is done; check where its output is sent",
            ) from error


class Terminal(Console):
    """A console that takes no text for markup, and shows control characters instead of obeying.

    Parameters
    ----------
    stderr : bool
        Print to standard error.
    """

    def __init__(self, stderr: bool = False):
        stream = cast(IO[str], _Stream(stderr))
        super().__init__(file=stream, markup=False, highlight=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of anything printable, without characters that a terminal obeys."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def print_lines(*lines: str, stderr: bool = False) -> None:
    """Print lines as they are: paths in them are never wrapped, nor taken for markup."""
    Terminal(stderr).print("\n".join(lines), soft_wrap=True)


def print_view(view: RenderableType, wrap: bool = True) -> None:
    """Print a table or another view, laid out for the width of the terminal if it may wrap."""
    Terminal().print(view, soft_wrap=not wrap)
