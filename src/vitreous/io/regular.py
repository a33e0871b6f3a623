"""Input must be a file: a pipe or a device would be waited for, or read, for ever."""

from __future__ import annotations

from errno import ENAMETOOLONG
from pathlib import Path

from vitreous.errors import InputError


def is_file(path: Path) -> bool:
    """Whether a file is there; of a name that no file system takes, it is not."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            return False
        raise


def text_lines(path: Path, hint: str) -> list[str]:
    """Lines of a text file.

    Raises
    ------
    InputError
        For what is no file, and no text in UTF-8.
    """
    require_regular(path)
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("is no text file", where=path, hint=hint) from error


def require_regular(path: Path) -> None:
    """Refuse what is there but no file.

    Raises
    ------
    InputError
        For pipes, devices, sockets and folders.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise InputError(f"is {kind}, expected a file", where=path, hint="give the path of a file")
