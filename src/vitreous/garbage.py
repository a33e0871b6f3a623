"""How often Python looks for objects that nothing refers to any more."""

from __future__ import annotations

import gc
import sys

_USUAL = gc.get_threshold()

_WHILE_LOADING = 50_000
"""New objects between two looks, where 700 are usual."""


def look_seldom() -> None:
    """While modules are loaded: these are many objects, and none of them is garbage."""
    gc.set_threshold(_WHILE_LOADING)


def look_as_usual() -> None:
    """While a job runs."""
    gc.set_threshold(*_USUAL)


def look_no_more() -> None:
    """When the process ends, and all goes with it.

    Triton, where a GPU brought it in, complains of its objects that are not taken down one by one.
    """
    if "triton" not in sys.modules:
        gc.freeze()
