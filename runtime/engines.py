"""Engines: what a device builds from a graph, kept in the cache folder, one folder for each graph and version."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from weakref import finalize

from .devices import DEVICES, library_versions
from .folders import cache_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["count_engines", "engines_folder", "make_engines_folder", "mark_used", "remove_unused"]

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
_MARKER = "last_used"
_DAY = 86_400


def engines_folder(device: str, sha256: str) -> Path:
    """Return the folder for the engines of one graph; those of other versions of the libraries are elsewhere."""
    versions = hashlib.sha256(json.dumps(library_versions(device), sort_keys=True).encode()).hexdigest()
    return cache_folder() / device / f"{sha256[:16]}-{versions[:8]}"


def make_engines_folder(folder: Path) -> Path | None:
    """Make a folder, and return it; None if it cannot be made: then engines are built at each start."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("engines are not kept: %s", error)
        return None
    return folder


def count_engines(folder: Path | None) -> int:
    """Return how many engines a folder has."""
    return 0 if folder is None else sum(1 for _ in folder.glob("*.engine"))


def mark_used(folder: Path, user: object) -> None:
    """Record that an object uses the engines of a folder; `remove_unused` leaves them as long as the object exists.

    A folder that cannot be locked, such as a read-only one, is used without a record.
    """
    with suppress(OSError):
        while fcntl is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # removed since the line above
                marker = os.open(folder / _MARKER, os.O_RDWR | os.O_CREAT, 0o644)
                release = finalize(user, os.close, marker)
                fcntl.flock(marker, fcntl.LOCK_SH)
                if os.fstat(marker).st_nlink:
                    os.utime(marker)
                    return
                release()  # it was removed while this waited for the lock


def remove_unused(days: int) -> tuple[int, int]:
    """Remove the engines that no process uses, and that none has opened for some days.

    The time of engines without a record begins with this call. Where files cannot be locked, nothing is removed.

    Parameters
    ----------
    days
        Days since a process has opened them, at least 1.

    Returns
    -------
    tuple of int
        Number of graphs, or versions of them, whose engines were removed; their size in bytes.
    """
    before = time() - days * _DAY
    sizes = [size for folder in _all_folders() if (size := _remove_unused(folder, before)) is not None]
    return len(sizes), sum(sizes)


def _all_folders() -> Iterator[Path]:
    for device, row in DEVICES.items():
        if row.builds_engines:
            yield from sorted(path for path in (cache_folder() / device).glob("*-*") if _NAME.fullmatch(path.name))


def _remove_unused(folder: Path, before: float) -> int | None:
    """Remove a folder that was not opened since a time; return its bytes, or None if it stays."""
    marker = folder / _MARKER
    try:
        if fcntl is None or not marker.exists():
            marker.touch()
            return None
        with marker.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_mtime >= before:
                return None
            # Under another name first: who waits for the lock makes the folder anew, and finds it empty.
            removed = folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}"))
            size = sum(path.stat().st_size for path in removed.rglob("*") if path.is_file())
            shutil.rmtree(removed)
            return size
    except BlockingIOError:  # a process uses it
        return None
    except OSError as error:
        _log.warning("%s cannot be removed: %s", folder, error)
        return None
