"""A folder that a new job's result replaces, but not before it is whole.

The job works in ``OUT.unfinished`` beside the folder.  When it is done, ``OUT`` becomes
``.OUT.before``, ``OUT.unfinished`` becomes ``OUT``, and ``.OUT.before`` is removed.  What a process
leaves that is killed between these steps, the next job finishes or takes back.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from vitreous.errors import InputError, OutputError
from vitreous.io.atomic import is_temporary
from vitreous.runs.lock import lock_name
from vitreous.runs.log import LOG, read_events

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
MICROGRAPHS = "micrographs.jsonl"
"""Records of the micrographs that are done, which a job goes on from."""

STEPS = "steps.json"
"""Steps of a road that are done, which it goes on from."""

RESULT = "result.json"
_SHOWN = ("report.html", "view.cxc", "views.bild", "axes.bild")
"""What is made of a finished job to look at it."""

UNFINISHED = ".unfinished"


def unfinished(out: Path) -> Path:
    """Where a job works whose result is to replace a folder."""
    out = out.resolve()
    return out.with_name(f"{out.name}{UNFINISHED}")


def _before(out: Path) -> Path:
    out = out.resolve()
    return out.with_name(f".{out.name}.before")


def has_checkpoint(folder: Path) -> bool:
    """Whether a job can be resumed in a folder."""
    return any((folder / name).is_file() for name in (CHECKPOINT, PREVIOUS, MICROGRAPHS, STEPS))


def with_checkpoint(out: Path) -> Path | None:
    """Where a job that writes to ``out`` would go on from; None without a checkpoint."""
    return next((folder for folder in (unfinished(out), out) if has_checkpoint(folder)), None)


def is_finished(folder: Path) -> bool:
    """Whether the folder holds the result of a job that came to its end."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(result, dict) and result.get("status", "finished") == "finished"


def _files(folder: Path) -> list[str]:
    """All files of a folder and what is in it, by their names from there."""
    return sorted(
        str(Path(place).relative_to(folder) / name)
        for place, folders, names in os.walk(folder)
        for name in [*names, *(one for one in folders if (Path(place) / one).is_symlink())]
    )


def _written(folder: Path) -> set[str]:
    """Files that jobs wrote by the logs of the folder and of the jobs' folders in it."""
    found = set[str]()
    for log in folder.rglob(LOG):
        place = log.parent.relative_to(folder)
        names = (event.get("file") for event in read_events(log) if event.get("event") == "wrote")
        found |= {str(place / str(name)) for name in (LOG, RESULT, *_SHOWN, *names)}
    return found


def foreign(folder: Path) -> list[str]:
    """Files of a folder that, by its log, no job wrote there."""
    written = {lock_name(folder.resolve()), *_written(folder)}
    return [
        name for name in _files(folder) if name not in written and not is_temporary(Path(name).name)
    ]


def _refuse_foreign(folder: Path) -> None:
    found = foreign(folder)
    if found:
        more = f" and {len(found) - 3} more" if found[3:] else ""
        raise OutputError(
            "the folder holds files that no job of this program wrote, so it is not replaced: "
            f"{', '.join(found[:3])}{more}",
            where=folder,
            hint="move them elsewhere or give another --out",
        )


def _require_replaceable(out: Path) -> None:
    """Refuse what cannot be renamed, and what somebody would miss."""
    here = Path.cwd()
    if out.resolve() in (here, *here.parents) or out.is_mount():
        raise OutputError(
            "is the current folder or a mounted file system, which cannot be replaced",
            where=out,
            hint="give another --out",
        )
    for folder in (out, unfinished(out)):
        if folder.exists():
            _refuse_foreign(folder)


def working_folder(out: Path, *, overwrite: bool, resume: bool) -> Path:
    """Where a job is to write; nothing is touched.

    Raises
    ------
    OutputError
        If the folder is in use and may not be replaced.
    InputError
        If there is no checkpoint to resume from.
    """
    beside = unfinished(out)
    if out.exists() and not out.is_dir():
        raise OutputError("is a file, expected a folder", where=out, hint="give another --out")
    if resume:
        folder = with_checkpoint(out)
        if folder is None:
            raise InputError(
                "there is no checkpoint to resume from",
                where=out / CHECKPOINT,
                hint="leave --resume out to begin anew",
            )
        return folder
    if not out.is_dir() or {path.name for path in out.iterdir()} <= {lock_name(out.resolve())}:
        return out
    if not overwrite:
        raise OutputError(
            "the folder exists and is not empty",
            where=out,
            hint="pass --overwrite to replace it, --resume to go on, or give another --out",
        )
    _require_replaceable(out)
    return beside


def settle(out: Path) -> None:
    """Finish or take back a replacement whose process was killed between its steps."""
    before, beside = _before(out), unfinished(out)
    if not before.is_dir():
        return
    if not out.exists():
        (beside if is_finished(beside) else before).rename(out.resolve())
    _remove(before)


def replace_folder(out: Path) -> None:
    """Put the finished result in the place of the folder that was there before.

    Raises
    ------
    OutputError
        If the system refuses; the former result is then where it was.
    """
    before, beside, out = _before(out), unfinished(out), out.resolve()
    try:
        out.rename(before)
        try:
            beside.rename(out)
        except OSError:
            before.rename(out)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot be replaced: {error.strerror}; the new result is in {beside}",
            where=out,
            hint="rename the folder yourself",
        ) from error
    _remove(before)


def _remove(before: Path) -> None:
    """Remove a former result, but for files that somebody put there in the meantime."""
    if before.is_dir():
        clear(before)


def clear(folder: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove what jobs wrote into a folder, and the folder if nothing else is left."""
    spared = {*foreign(folder), *keep}
    for name in _files(folder):
        if name not in spared:
            with suppress(OSError):
                (folder / name).unlink()
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(place).rmdir()


def begin_anew(folder: Path) -> None:
    """Remove what an unfinished job left in a folder that holds nothing else.

    Raises
    ------
    OutputError
        If the system refuses.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"cannot be removed: {error.strerror}", where=folder, hint="remove it yourself"
        ) from error
