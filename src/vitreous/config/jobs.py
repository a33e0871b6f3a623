"""The configuration class of a job, by the name of its command."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import vitreous.config


def job_of(kind: type) -> str:
    """Name of the command that a configuration class belongs to: CtfRefineConfig, ctf-refine."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removesuffix("Config")).lower()


@cache
def configurations() -> dict[str, type[Any]]:
    """All configuration classes by the names of their commands."""
    found = {}
    for module in iter_modules(vitreous.config.__path__):
        for value in vars(import_module(f"vitreous.config.{module.name}")).values():
            if (
                isinstance(value, type)
                and is_dataclass(value)
                and value.__name__.endswith("Config")
            ):
                found[job_of(value)] = value
    return found
