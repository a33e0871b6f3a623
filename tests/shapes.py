"""The type checker behind the shapes in annotations, which the tests check for real."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Whole numbers pass for reals, as PEP 484 has it."""
