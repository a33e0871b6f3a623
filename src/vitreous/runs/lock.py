"""One job at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vitreous.errors import OutputError


def lock_name(out: Path) -> str:
    """What the lock of a folder is called."""
    return f".{out.name}.lock"


def lock_path(out: Path) -> Path:
    """File that is locked while a job writes to ``out``.

    It lies beside the folder, which a job may replace, or within where nothing can be written
    beside it, as in a container's mounted folder.
    """
    within = out.is_dir() and not os.access(out.parent, os.W_OK)
    return (out if within else out.parent) / lock_name(out)


@contextmanager
def locked(out: Path, owner: Callable[[], str]) -> Iterator[None]:
    """Hold the lock of a folder; the system lets go of it when the process ends, however it does.

    Parameters
    ----------
    out : Path
    owner : callable
        Tells whose job is there, for the message.

    Raises
    ------
    OutputError
        If another job holds it, or the lock cannot be made.
    """
    from filelock import FileLock, Timeout

    path = lock_path(out)
    lock = FileLock(path, mode=0o666 & ~_umask())
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"another job is at work there{owner()}",
            where=out,
            hint="wait until it is done, or give another --out",
        ) from None
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=out,
            hint="give a folder that you may write to",
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def _umask() -> int:
    """Permissions that new files lack."""
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
