"""Writing that never leaves half a file: a temporary name, then a rename."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from vitreous.errors import OutputError

Announce = Callable[[Path], None]
"""What is told of every file before it appears under its name."""

_announce: ContextVar[Announce | None] = ContextVar("announce", default=None)

_TEMPORARY = re.compile(r"\..+\.\d+\.part")


@contextmanager
def announcing(tell: Announce) -> Iterator[None]:
    """Tell ``tell`` of every file that is written within the block."""
    token = _announce.set(tell)
    try:
        yield
    finally:
        _announce.reset(token)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is what a process left that was killed as it wrote."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``, renamed onto it if the block succeeds.

    The file has the permissions of one that is newly made, whatever the writer gave it.  Its
    folder is made if it is missing.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # some file systems tell only now that they are full
        move(temporary, target)
    except OSError as error:
        raise not_written(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def announce(target: Path) -> None:
    """Tell whoever asked to be told that a file is about to appear under its name."""
    tell = _announce.get()
    if tell is not None:
        tell(target)


def move(path: Path, target: Path) -> None:
    """Give a file that is whole the name ``target``."""
    announce(target)
    path.replace(target)


def not_written(target: Path, error: OSError) -> OutputError:
    """What is said where the system refuses to write."""
    return OutputError(
        f"cannot be written: {error.strerror or error}",
        where=target,
        hint="check the folder's permissions and the free space",
    )


def write_text(target: Path | str, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
