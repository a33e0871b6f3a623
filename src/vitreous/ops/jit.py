"""Compiling kernels for the processor, and where their machine code is kept between runs."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import caching


def _own_temporary_folder() -> Path | None:
    """A folder of this user's in the system's temporary one; None if there is none to be trusted.

    What is kept there is run, so nobody else may be able to write to it.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"vitreous-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if ours and not found.st_mode & 0o077 else None


class _TemporaryLocator(caching.UserWideCacheLocator):
    """The place of last resort: a home and a package that are read-only, as in containers."""

    def __init__(self, py_func: Any, py_file: str):
        super().__init__(py_func, py_file)
        folder = _own_temporary_folder()
        if folder is None:
            raise OSError("no temporary folder of this user's")
        self._cache_path = str(folder / self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """A locator for the function, or None if nothing can be kept there."""
        with suppress(OSError):
            return super().from_function(py_func, py_file)
        return None


class _Implementation(caching.CompileResultCacheImpl):
    # numba looks into NUMBA_CACHE_DIR, the package's __pycache__ and the user's cache folder.
    _locator_classes = [*caching.CacheImpl._locator_classes, _TemporaryLocator]  # noqa: RUF012


class _Cache(caching.FunctionCache):
    """A cache whose loss, on a full disk for one, costs no more than compiling again."""

    _impl_class = _Implementation

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function; None if it is not kept or cannot be read."""
        with suppress(Exception):  # a damaged pickle raises any of them
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function if that is possible."""
        with suppress(Exception):
            super().save_overload(sig, data)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: numba's ``njit``, without the interpreter's lock, kept on disk where possible.

    Where nothing can be written, functions are compiled in memory whenever a job begins.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True, **options)(function)
        with suppress(RuntimeError):  # numba: "cannot cache function": no place can be written to
            dispatcher._cache = _Cache(dispatcher.py_func)
        return dispatcher

    return compiled
