"""The files of a job's folder, each with its size and what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote

from vitreous.io.atomic import is_temporary

_OF_EVERY_JOB = {
    "*.cxc": "opens the maps in ChimeraX",
    "result.json": "every number in this report, for scripts",
    "log.jsonl": "every decision of the job, in order",
    "checkpoint*.safetensors": "what --resume goes on from",
}

_MOST_ALIKE = 12
"""Files of one kind that are listed one by one."""


@dataclass(frozen=True)
class JobFile:
    """A row of the list.

    Attributes
    ----------
    name : str
        From the job's folder.
    link : str
        Address from the page; empty for a row that stands for several files.
    size : str
        In words.
    what : str
    """

    name: str
    link: str
    size: str
    what: str


def size_in_words(size: float) -> str:
    """Bytes as people read them: ``812 B``, ``1.0 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _patterns(described: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pattern and meaning; ``a.mrc, b.mrc`` names two, ``a.mrc ...`` all that begin like it."""
    for names, what in described.items():
        for name in names.split(", "):
            yield name, what


def _rows(group: list[tuple[str, int]], what: str) -> Iterator[JobFile]:
    for name, size in group[:_MOST_ALIKE]:
        yield JobFile(name, f"./{quote(name)}", size_in_words(size), what)
    rest = group[_MOST_ALIKE:]
    if rest:
        together = size_in_words(sum(size for _, size in rest))
        yield JobFile(f"and {len(rest):,} more like these", "", together, what)


def job_files(folder: Path, described: Mapping[str, str]) -> tuple[list[JobFile], list[JobFile]]:
    """Files that are described, in the order of the descriptions, and all others.

    Parameters
    ----------
    folder : Path
    described : mapping of str to str
        What files are, by names or patterns (``class*.mrc``); several may stand in one, with a
        comma and a space between.
    """
    left = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_temporary(path.name) and path.name != "report.html"
    }
    named: list[JobFile] = []
    for pattern, what in _patterns({**described, **_OF_EVERY_JOB}):
        group = [(name, left[name]) for name in left if fnmatch(name, pattern)]
        named += _rows(group, what)
        for name, _ in group:
            del left[name]
    return named, list(_rows(list(left.items()), ""))
