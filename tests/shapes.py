"""Shapes in annotations are checked in what is imported after this module."""

from __future__ import annotations

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGES = tuple(
    f"vitreous.{name}"
    for name in ("math", "imaging", "preprocessing", "reconstruct", "validate", "engine.searches")
)
"""Where numba compiles nothing, and jobs' options play no part."""

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Whole numbers pass for reals, as PEP 484 has it."""

install_import_hook(PACKAGES, "shapes.checked")
