"""Time for the request store: steady while the server runs, even if the wall clock is changed."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "uptime"]


def uptime() -> float:
    """Return the seconds since the machine started. It is the same for all processes; only differences have meaning."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)  # also counts while the machine sleeps; not on every system
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Clock:
    """The time of day without jumps: the wall clock, read once, plus steady seconds.

    Parameters
    ----------
    wall
        Returns seconds since the epoch; they may jump.
    steady
        Returns seconds since the machine started; they only grow.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = uptime) -> None:
        self._steady = steady
        self.set(wall())

    def set(self, wall: float) -> None:
        """Set the time of day, in seconds since the epoch."""
        self._offset = wall - self._steady()

    def now(self) -> float:
        """Return seconds since the epoch: for what people see and what outlasts the machine, such as deadlines."""
        return self._offset + self._steady()

    def uptime(self) -> float:
        """Return seconds since the machine started: for leases between processes whose wall clocks may disagree."""
        return self._steady()
