"""How much memory a process may still take: of the machine, its control groups and its limits."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")

_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By version of control groups: the limit, the use, and the name of file cache in memory.stat."""


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None if the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_of_machine(_PROC), _of_process(_PROC), _of_groups(_PROC, _CGROUPS)]
    known = [free for free in found if free is not None]
    return max(0, min(known)) if known else None


def held_memory() -> int:
    """Bytes that the process holds now; 0 if the system does not say."""
    pages = _lines(_PROC / "self" / "statm")
    return int(pages[0].split()[1]) * resource.getpagesize() if pages else 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _of_machine(proc: Path) -> int | None:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _of_process(proc: Path) -> int | None:
    """What the limit on the address space (ulimit -v) leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines(proc / "self" / "statm")
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0].split()[0]) * resource.getpagesize()


def _of_groups(proc: Path, root: Path) -> int | None:
    """The least that the process's control groups leave, from its own up to the root."""
    found = []
    for line in _lines(proc / "self" / "cgroup"):
        number, kinds, name = line.split(":", 2)
        version = 2 if number == "0" else 1
        if version == 1 and "memory" not in kinds.split(","):
            continue
        top = root if version == 2 else root / "memory"
        group = top / name.lstrip("/")
        # In a container the group's own path may not be there: its limits are at the top.
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                found.append(_left(folder, version))
    known = [free for free in found if free is not None]
    return min(known) if known else None


def _left(group: Path, version: int) -> int | None:
    limit_name, used_name, cache_name = _FILES[version]
    limit, used = (_lines(group / name) for name in (limit_name, used_name))
    if not (limit and used) or limit[0] == "max":
        return None
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    return int(limit[0]) - int(used[0]) + int(stat.get(cache_name, 0))
