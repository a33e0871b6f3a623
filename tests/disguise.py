"""A test device that is the processor in disguise, as strict as a GPU about what it works with.

Its tensors hold one of the host's, which nothing else may see.  They refuse to meet tensors of the
host in one operation, as CUDA's do, and refuse what CUDA does not do or not deterministically.  The
numbers are the processor's own: a job that ends as it does there has moved its data as it should.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME: Final = "disguise"

_setup_privateuseone_for_python_backend(NAME)

DEVICE: Final = torch.device(NAME, 0)

_aten = torch.ops.aten

_INDEXED: Final = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)
"""These take indices that lie on the host."""

_AT_ONCE: Final = {
    _aten._conj.default: _aten._conj_physical.default,
    _aten._neg_view.default: _aten.neg.default,
}
"""What torch only notes on a tensor, and would not look at below a tensor's own dispatch."""

_PRODUCTS: Final = (_aten.mm.default, _aten.bmm.default, _aten.mv.default, _aten.addmm.default)

_UNSTEADY: Final[dict[Any, Callable[..., bool]]] = {
    _aten.bincount.default: lambda _, weights=None, *rest: weights is not None,
    _aten.cumsum.default: lambda values, *rest: not _whole(values),
    _aten.histc.default: lambda *rest: True,
    _aten.kthvalue.default: lambda *rest: True,
    _aten.median.dim: lambda *rest: True,
    _aten.put_.default: lambda *rest: True,
}
"""Where CUDA has no deterministic way, as ``torch.use_deterministic_algorithms`` lists it."""


class Disguised(Tensor):
    """A tensor of the device; ``host`` is what holds its numbers."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor) -> Disguised:
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _copied(*args) if op is _aten.copy_.default else _computed(op, args, kwargs or {})

    def tolist(self) -> Any:
        return self.host.tolist()

    def __repr__(self) -> str:
        return f"Disguised({self.host!r})"


def _copied(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy from either device to either."""
    _host(to).copy_(_host(source), non_blocking)
    return to


def _computed(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, by way of the host's tensors."""
    _refuse(op, args, kwargs)
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": "cpu"}
    found = _AT_ONCE.get(op, op)(*tree_map(_host, args), **tree_map(_host, kwargs))
    if device is not None and torch.device(device).type != NAME:
        return found
    given = {id(t.host): t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Disguised)}
    return tree_map(lambda value: _in_disguise(value, given), found)


def _host(value: Any) -> Any:
    return value.host if isinstance(value, Disguised) else value


def _in_disguise(value: Any, given: dict[int, Disguised]) -> Any:
    """A result; what was changed in place is the very tensor given."""
    if not isinstance(value, Tensor):
        return value
    same = given.get(id(value))
    assert same is None or same.shape == value.shape, "the disguise of a tensor cannot be resized"
    return Disguised(value) if same is None else same


def _refuse(op: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise as CUDA does."""
    first = args[0] if args else None
    indexed = op in _INDEXED and isinstance(first, Disguised)
    seen = tree_flatten(((first, *args[2:]) if indexed else args, kwargs))[0]
    strangers = [t for t in seen if isinstance(t, Tensor) and not isinstance(t, Disguised)]
    if indexed or torch.Tag.pointwise in op.tags:
        strangers = [t for t in strangers if t.dim() > 0]  # a number of the host is no stranger
    if strangers and op is not _aten._to_copy.default:
        raise RuntimeError(f"{op} on {DEVICE} with tensors of the host: {strangers}")
    if any(isinstance(value, torch.Generator) for value in seen):
        raise RuntimeError(f"{op} on {DEVICE} with a generator of the host")
    if op in _PRODUCTS and _whole(first):
        raise RuntimeError(f"{op} on {DEVICE} of whole numbers")
    if torch.are_deterministic_algorithms_enabled() and op in _UNSTEADY and _UNSTEADY[op](*args):
        raise RuntimeError(f"{op} on {DEVICE} is not deterministic")


def _whole(values: Tensor) -> bool:
    return not (values.is_floating_point() or values.is_complex())


_anything = torch.library.Library("_", "IMPL")
_anything.fallback(lambda op, *args, **kwargs: _computed(op, args, kwargs), "PrivateUse1")
"""Tensors made from nothing, in whatever thread."""

_some = torch.library.Library("aten", "IMPL")
_some.impl("copy_", _copied, "PrivateUse1")  # torch.tensor passes the tensors' own dispatch
for _op in (
    _aten.arange.default,
    _aten.arange.start,
    _aten.arange.start_step,
    _aten.eye.default,
    _aten.eye.m,
    _aten.fft_fftfreq.default,
    _aten.fft_rfftfreq.default,
    _aten.randperm.default,
):  # which would resize a tensor that torch makes first
    _some.impl(_op, lambda *args, _op=_op, **kwargs: _computed(_op, args, kwargs), "PrivateUse1")
