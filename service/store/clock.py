"""Time for the request store: steady while the server runs, whatever is done to the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "uptime"]


def uptime() -> float:
    """Seconds since the machine started, the same for all its processes; only the differences mean something."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)  # goes on while the machine sleeps, where there is such a one
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Clock:
    """Tells the time of day without jumps: the wall clock is read once, and steady seconds are added to it.

    Parameters
    ----------
    wall
        Seconds since the epoch, which may jump.
    steady
        Seconds since the machine started, which only grow.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = uptime) -> None:
        self._steady = steady
        self.set(wall())

    def set(self, wall: float) -> None:
        """Say what time of day it is."""
        self._offset = wall - self._steady()

    def now(self) -> float:
        """Seconds since the epoch, for what people see and what outlasts the machine: creation, expiry, deadline."""
        return self._offset + self._steady()

    def uptime(self) -> float:
        """Seconds since the machine started, for leases: processes whose wall clocks disagree agree on it."""
        return self._steady()
