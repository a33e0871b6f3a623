"""The memory, disk and time that a job is expected to take, told before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.classify2d import Class2dConfig
from vitreous.config.maps import ReconstructConfig
from vitreous.config.refine import RefineConfig
from vitreous.engine.memory import ON_HOST, MemoryPlan
from vitreous.engine.work import Work
from vitreous.jobs.plan import abinit, class2d, classify3d, reconstruct, refine
from vitreous.jobs.plan.counted import Counted
from vitreous.jobs.plan.speeds import speeds_on
from vitreous.ops.threads import limited_to
from vitreous.particles.loader import KEPT_BYTES, SCRATCH_BYTES
from vitreous.runs.options import deterministic_on, device_for, on_its_threads

Planned = AbinitConfig | RefineConfig | Class2dConfig | Classify3dConfig | ReconstructConfig
"""Jobs that can be planned."""


@dataclass(frozen=True)
class Images:
    """Where the images are kept that a job goes back to, bytes.

    Attributes
    ----------
    all : float
        That all would take in memory.
    held : float
        Of these, what memory holds.
    scratch : float
        Of the file on the scratch disk.
    read_again : bool
        Whether images that memory does not hold are read again whenever they are needed.
    """

    all: float
    held: float
    scratch: float
    read_again: bool


@dataclass(frozen=True)
class Plan:
    """What a job is expected to take.

    Attributes
    ----------
    job : str
    device : str
    threads : int
    particles : int
    host, on_device : dict
        Bytes by purpose; none on a device where that is the processor.
    may_take : int or None
        Bytes that the job may take of the device's memory; None if nothing tells.
    images : Images
    seconds : dict
        By stage.
    assumed : tuple of str
    warnings : tuple of str
    """

    job: str
    device: str
    threads: int
    particles: int
    host: dict[str, float]
    on_device: dict[str, float]
    may_take: int | None
    images: Images
    seconds: dict[str, float]
    assumed: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def total_seconds(self) -> float:
        """Time that the whole job takes."""
        return sum(self.seconds.values())

    def record(self) -> dict[str, Any]:
        """For machines: gigabytes and seconds."""
        return {
            "job": self.job,
            "device": self.device,
            "threads": self.threads,
            "particles": self.particles,
            "memory_GB": {
                "host": _gigabytes(self.host),
                "device": _gigabytes(self.on_device),
                "host_total": round(sum(self.host.values()) / 1e9, 3),
                "device_total": round(sum(self.on_device.values()) / 1e9, 3),
                "may_take": None if self.may_take is None else round(self.may_take / 1e9, 3),
            },
            "images_GB": {
                "all": round(self.images.all / 1e9, 3),
                "held": round(self.images.held / 1e9, 3),
                "scratch": round(self.images.scratch / 1e9, 3),
                "read_again": self.images.read_again,
            },
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "total_seconds": round(self.total_seconds, 1),
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
        }


def _gigabytes(parts: Mapping[str, float]) -> dict[str, float]:
    return {name: round(size / 1e9, 3) for name, size in parts.items()}


def _images(memory: MemoryPlan) -> Images:
    whole, held = sum(memory.images.values()), sum(memory.held.values())
    left = whole - held
    beside = memory.scratch is not None
    scratch = left * SCRATCH_BYTES / KEPT_BYTES if beside else 0.0
    return Images(whole, held, scratch, left > 0 and not beside)


def planned(job: str, counted: Counted, speeds: Work) -> Plan:
    """A plan of what was counted, where operations take ``speeds``."""
    memory, apart = counted.memory, counted.device.type != "cpu"
    parts = memory.parts | memory.held
    stages = {"starting": Work(starting=1.0), **counted.stages}
    there = {name: size for name, size in parts.items() if apart and name not in ON_HOST}
    return Plan(
        job,
        str(counted.device),
        torch.get_num_threads(),
        counted.particles,
        {name: size for name, size in parts.items() if name not in there},
        there,
        memory.free,
        _images(memory),
        {name: work.seconds(speeds) for name, work in stages.items()},
        counted.assumed,
        tuple(counted.warnings),
    )


def _of_ranks(count: int, device: torch.device) -> tuple[str, ...]:
    """What the figures are of where several ranks will share the job."""
    own = "a GPU" if device.type != "cpu" else f"{torch.get_num_threads()} of this machine's cores"
    return (f"each of {count} ranks has {own}; memory is that of one of them",) * (count > 1)


def _threads_of_rank(config: Planned, device: torch.device) -> int | None:
    """Cores of each rank where ranks share those of this machine; None for all."""
    if device.type != "cpu" or config.threads is not None or config.ranks == 1:
        return None
    return max(1, torch.get_num_threads() // config.ranks)


def counter_of(config: Planned) -> tuple[str, Callable[[Any], Counted]]:
    """Name of a job, and what checks its input and counts its operations."""
    match config:
        case AbinitConfig():
            return "abinit", abinit.counted
        case RefineConfig():
            return "refine", refine.counted
        case Class2dConfig():
            return "class2d", class2d.counted
        case Classify3dConfig():
            return "classify3d", classify3d.counted
    return "reconstruct", reconstruct.counted


@on_its_threads
def run_plan(config: Planned) -> Plan:
    """Say what a job will take; it is checked as it would be, and nothing of it is begun.

    How long operations take is measured once on every device and number of threads, and kept in
    the user's cache folder.

    Parameters
    ----------
    config : AbinitConfig, RefineConfig, Class2dConfig, Classify3dConfig or ReconstructConfig
        Of the job.

    Raises
    ------
    VitreousError
        As the job would, for input, options or output that cannot be used.
    """
    job, count = counter_of(config)
    device = device_for(config.device)
    with deterministic_on(device), limited_to(_threads_of_rank(config, device)):
        counted = count(config)
        plan = planned(job, counted, speeds_on(counted.device))
        told = _of_ranks(config.ranks, counted.device)
    return replace(plan, assumed=(*plan.assumed, *told))
