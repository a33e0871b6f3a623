"""Whether kernels can be compiled for the processor."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

COMPILED = find_spec("numba") is not None
"""Without numba every kernel falls back to its eager twin: the same results, slower."""

GPU_COMPILED = find_spec("triton") is not None
"""Triton comes with torch's builds for GPUs."""

NOT_COMPILED = "numba is not installed: the search runs several times slower (pip install numba)"


def as_bits(tensor: Tensor) -> Tensor:
    """The tensor, or a view of a bfloat16 one's bits, which numpy and numba have no type for."""
    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor


def compiled_for(tensor: Tensor) -> bool:
    """Whether to run numba's kernel on a tensor."""
    return COMPILED and tensor.device.type == "cpu"


def gpu_compiled_for(tensor: Tensor) -> bool:
    """Whether to run Triton's kernel on a tensor."""
    return GPU_COMPILED and tensor.device.type == "cuda"
