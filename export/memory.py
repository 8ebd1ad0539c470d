"""Memory: what is available, checked before an export that would be killed for want of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from automask.errors import AutomaskError

__all__ = ["OutOfMemoryError", "available_memory", "check_memory"]

_MEMINFO = Path("/proc/meminfo")
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


class OutOfMemoryError(AutomaskError, MemoryError):
    """The machine has less memory than the export needs."""


def check_memory(needed: int, name: str) -> None:
    """Check that an export fits into the memory.

    Parameters
    ----------
    needed
        Bytes at its peak.
    name
        Name of the model.

    Raises
    ------
    OutOfMemoryError
        The machine has less.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise OutOfMemoryError(
            f"exporting {name} takes about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are available: "
            "give a smaller --image-size (--masks-image-size for the model of --masks), take a smaller model of "
            "`automask export --list`, or export on a larger machine and copy the bundle's folder"
        )


def available_memory() -> int | None:
    """Return the bytes that this process can still get, swap included; None where the system does not say."""
    limits = [number for number in (_system_memory(), _container_limit()) if number is not None]
    return min(limits, default=None)


def _system_memory() -> int | None:
    if _MEMINFO.is_file():
        kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB", _MEMINFO.read_text("ascii"), re.MULTILINE))
        return (int(kilobytes["MemAvailable"]) + int(kilobytes.get("SwapFree", 0))) << 10
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container_limit() -> int | None:
    """Return the limit of the control group, which /proc/meminfo does not know of; None if there is none."""
    try:
        return int(_CONTAINER_LIMIT.read_text("ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None
