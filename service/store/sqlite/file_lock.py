"""A lock file that shows whether other processes have the store open."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final
from weakref import WeakSet

if sys.platform != "win32":
    import fcntl

__all__ = ["FileLock"]


class FileLock:
    """A lock of the kernel, held from opening to closing; it ends with its process, however that dies.

    The lock file is never deleted: otherwise two processes could hold locks on two files of one name.

    Parameters
    ----------
    path
        The lock file; created if there is none.

    Attributes
    ----------
    alone
        Whether no other process has the store open, and none can open it until `share` is called. Always False on
        systems without such locks.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.alone = False
        _LOCKS.add(self)
        if sys.platform != "win32":
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.alone = True
            except BlockingIOError:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def share(self) -> None:
        """Let other processes open the store."""
        if sys.platform != "win32" and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.alone = False

    def close(self) -> None:
        """Release the lock. In a forked child, the parent's lock stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_LOCKS: Final[WeakSet[FileLock]] = WeakSet()


def _close_inherited() -> None:
    # A child that outlives its parent would otherwise look like a server that has the store open.
    for lock in list(_LOCKS):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
