"""Signals that ask the program to end: Ctrl-C, SIGTERM (of SLURM and kill) and SIGHUP.

Little is imported here, as until then a signal is the interpreter's to answer.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

_IMPORTS = "<frozen importlib"
_PATIENCE = 3
"""Signals after which the program no longer waits for what it is writing."""

_WAIT = 0.05
"""Seconds after which a signal is heard again that came while a module was loaded."""

_asked, _working = 0, False


def raise_on_signals() -> None:
    """Raise :class:`vitreous.errors.Interrupted` in the main thread at a signal to end.

    A program that was started to outlive its terminal (nohup) goes on doing so.
    """
    signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def work_begins() -> None:
    """From now on there may be something to be kept or cleared away at a signal."""
    global _working
    _working = True


def exit_code(number: int) -> int:
    """As shells have it."""
    return 128 + number


def end_at_once(code: int) -> NoReturn:
    """End without waiting for worker threads, which finish a pass before they look up."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # of a terminal that is gone
            continue
    os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked += 1
    if _asked >= _PATIENCE:
        os._exit(exit_code(number))
    if _asked > 1:
        return  # what is being written now is what the first signal asked for
    _end(number, frame)


def _end(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        # Modules half loaded may turn an exception into another.
        if _working:
            signal.signal(signal.SIGALRM, lambda _, later: _end(number, later))
            signal.setitimer(signal.ITIMER_REAL, _WAIT)
            return
        os.write(2, f"interrupted by {signal.Signals(number).name}; nothing was begun\n".encode())
        os._exit(exit_code(number))
    from vitreous.errors import Interrupted

    raise Interrupted(number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTS):
            return True
        frame = frame.f_back
    return False
