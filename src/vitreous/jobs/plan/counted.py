"""What is counted of a job that was checked and is not begun."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vitreous.engine.memory import MemoryPlan
from vitreous.engine.work import Work


@dataclass(frozen=True)
class Counted:
    """What was counted of a job.

    Attributes
    ----------
    particles : int
        That it works with.
    device : torch.device
    memory : MemoryPlan
    stages : dict of str to Work
        In their order.
    assumed : tuple of str
        What only the search itself will tell.
    warnings : list of str
        That the job would begin with.
    """

    particles: int
    device: torch.device
    memory: MemoryPlan
    stages: dict[str, Work]
    assumed: tuple[str, ...]
    warnings: list[str]
