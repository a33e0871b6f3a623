"""A job's output folder: new, replaced or resumed, never mixed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitreous.errors import OutputError

OnEvent = Callable[[Mapping[str, Any]], None]
"""What a job tells as it goes: the log, the progress bar."""


def ignore(_: Mapping[str, Any]) -> None:
    """Take an event and do nothing with it."""


def prepare_folder(out: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Make the output folder, or settle what is to happen with one that exists.

    Raises
    ------
    OutputError
        If it exists and neither ``overwrite`` nor ``resume`` was asked for, if it holds files
        that no job of ours wrote, or if it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise OutputError("is a file, expected a folder", where=out, mend="give another --out")
    if out.is_dir() and any(out.iterdir()) and not resume:
        if not overwrite:
            raise OutputError(
                "the folder exists and is not empty",
                where=out,
                mend="pass --overwrite to replace it, --resume to go on, or give another --out",
            )
        if not (out / "log.jsonl").exists():
            raise OutputError(
                "the folder holds files that no job of this program wrote, so it is not replaced",
                where=out,
                mend="remove it yourself or give another --out",
            )
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror}",
            where=out,
            mend="give a folder that you may write to",
        ) from error
