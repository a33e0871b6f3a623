"""Float32 from and to the bits of a bfloat16, within numba's functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

FAST = {"contract", "nsz", "nnan", "ninf"}
"""Licence for the compiler: fused products, and no care for NaN, infinity or minus zero."""


@intrinsic
def float_of_bits(context: Any, bits: Any) -> Any:
    """Float32 with the bits of an int32."""

    def build(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.FloatType())

    return types.float32(types.int32), build


@intrinsic
def bits_of_float(context: Any, value: Any) -> Any:
    """Bits of a float32 as an int32."""

    def build(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.IntType(32))

    return types.int32(types.float32), build


def widened(value):
    """Float32 of a product, kept as float32 or as the bits of a bfloat16."""


def narrowed(value, like):
    """Float32 in the form that products are kept in, rounded to nearest."""


@overload(widened, inline="always")
def _widened_for(value):
    if value == types.uint16:
        return lambda value: float_of_bits(np.int32(np.uint32(value) << np.uint32(16)))
    return lambda value: value


@overload(narrowed, inline="always")
def _narrowed_for(value, like):
    if like != types.uint16:
        return lambda value, like: value

    def to_bfloat16(value, like):
        bits = np.uint32(bits_of_float(value))
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return to_bfloat16
