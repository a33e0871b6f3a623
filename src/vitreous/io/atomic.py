"""Writing that never leaves half a file: a temporary name, then a rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitreous.errors import OutputError


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``, renamed onto it if the block succeeds.

    Raises
    ------
    OutputError
        If the folder is missing or cannot be written to.
    """
    target = Path(target)
    if not target.parent.is_dir():
        raise OutputError("the folder does not exist", where=target.parent, mend="make it first")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=target,
            mend="check the folder's permissions and the free space",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path | str, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
