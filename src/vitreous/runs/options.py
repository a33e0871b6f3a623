"""Options that several jobs take, and what they come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, Final, Literal, ParamSpec, Protocol, TypeVar

import torch

from vitreous.errors import OptionError
from vitreous.ops.host_memory import keep_freed_blocks
from vitreous.ops.threads import limited_to
from vitreous.particles.particle_set import ParticleSet
from vitreous.runs.ranks import gpu_of_rank

_DEFAULT_MASK = 0.85
"""Mask diameter over the box where none is given."""

AUTO: Final = "auto"
"""Symmetry to be found in a map made without."""


def device_for(name: str) -> torch.device:
    """Device of that name; ``auto`` takes a GPU where there is one.

    Raises
    ------
    OptionError
        If it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{gpu_of_rank(torch.cuda.device_count())}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"{name!r} is not a device of this machine", where="--device", hint="try auto or cpu"
        ) from error
    return device


class Threaded(Protocol):
    """Options of a job that says how many cores it uses."""

    @property
    def threads(self) -> int | None: ...  # noqa: D102


Options = TypeVar("Options", bound=Threaded)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")


def on_its_threads(
    run: Callable[Concatenate[Options, Rest], Result],
) -> Callable[Concatenate[Options, Rest], Result]:
    """Let a job use as many cores as its options say, and keep the memory that it frees.

    Raises
    ------
    OptionError
        If these are less than one.
    """

    @wraps(run)
    def limited(config: Options, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
        if config.threads is not None and config.threads < 1:
            raise OptionError(
                f"{config.threads} is less than 1",
                where="--threads",
                hint="give the number of cores to use, or leave it out",
            )
        memory = getattr(config, "memory", None)
        keep_freed_blocks(None if memory is None else 1e9 * memory)
        with limited_to(config.threads):
            return run(config, *args, **kwargs)

    return limited


@contextmanager
def deterministic_on(device: torch.device) -> Iterator[None]:
    """Get the same bits every time within; torch raises where its device cannot give them."""
    if device.type == "cuda":
        # cuBLAS reads it once, when it is first called.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


class OnDevice(Protocol):
    """Options of a job that says where it is computed."""

    @property
    def device(self) -> str: ...  # noqa: D102


Placed = TypeVar("Placed", bound=OnDevice)


def deterministic(
    run: Callable[Concatenate[Placed, Rest], Result],
) -> Callable[Concatenate[Placed, Rest], Result]:
    """Let a job get the same bits every time on the device that its options name.

    Raises
    ------
    OptionError
        If that is not there.
    """

    @wraps(run)
    def alike(config: Placed, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
        with deterministic_on(device_for(config.device)):
            return run(config, *args, **kwargs)

    return alike


def flag(name: str) -> str:
    """Option of that field of a configuration."""
    return "--" + name.replace("_", "-")


def chosen_mask_diameter(
    given: float | Literal["auto"], table: ParticleSet, suggested: float | None
) -> float:
    """Mask diameter in angstrom: as given, or as the images suggest.

    Raises
    ------
    OptionError
        If it does not fit the box.
    """
    widths = {g.box * g.pixel_size for g in table.optics}
    width, several = min(widths), len(widths) > 1
    if given == AUTO:
        return round(min(suggested or _DEFAULT_MASK * width, width), 1)
    if not 0 < given <= width:
        raise OptionError(
            f"the mask of {given:g} A is wider than the {'smallest ' * several}box of {width:g} A"
            if given > 0
            else f"{given:g} A is not more than 0",
            where="--mask-diameter",
            hint=f"give the particle's diameter in angstrom, at most {width:g}",
        )
    return given
