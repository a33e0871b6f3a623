"""Which number format the large products use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]

_CPUINFO = Path("/proc/cpuinfo")
_FLAGS = {"avx512_bf16", "amx_bf16"}


@lru_cache
def _processor_multiplies_bfloat16() -> bool:
    if not _CPUINFO.is_file():
        return False
    return not _FLAGS.isdisjoint(_CPUINFO.read_text().split())


def product_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """Number format of the operands; sums are float32 within a product.

    ``auto`` is bfloat16 where the device multiplies it in hardware, float32 elsewhere.
    """
    if precision != "auto":
        return torch.float32 if precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _processor_multiplies_bfloat16() else torch.float32
