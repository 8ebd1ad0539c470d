"""Free memory that the C library keeps for later allocations."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

__all__ = ["return_free_memory"]


def _find_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # only glibc has it
        return None
    return trim


_TRIM = _find_trim()


def return_free_memory() -> None:
    """Return free memory to the system, where that is possible. It takes some milliseconds."""
    if _TRIM is not None:
        _TRIM(0)
