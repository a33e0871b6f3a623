"""Whether kernels can be compiled for the processor."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

COMPILED = find_spec("numba") is not None
"""Without numba every kernel falls back to its eager twin: the same results, slower."""


def as_bits(tensor: Tensor) -> Tensor:
    """The tensor, or a view of a bfloat16 one's bits, which numpy and numba have no type for."""
    return tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor


def compiled_for(tensor: Tensor) -> bool:
    """Whether to run the compiled kernel on a tensor."""
    return COMPILED and tensor.device.type == "cpu"
