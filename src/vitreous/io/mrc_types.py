"""Types of what stands in MRC headers, which options share: they load nothing."""

from __future__ import annotations

from typing import Literal

Point = tuple[float, float, float]

Mode = Literal["float32", "float16", "int16", "int8"]
"""How numbers are stored: MRC's modes 2, 12, 1 and 0."""
