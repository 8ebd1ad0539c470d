"""Back-off: how long a worker waits while the device of its models is gone."""

from __future__ import annotations

from time import monotonic

__all__ = ["BackOff"]

_FIRST, _LONGEST = 1.0, 60.0  # seconds


class BackOff:
    """Seconds to wait after failures: 1, 2, 4 and so on, at most 60."""

    def __init__(self) -> None:
        self._next, self._until = _FIRST, 0.0

    @property
    def left(self) -> float:
        """Seconds that are left to wait; 0 if none."""
        return max(0.0, self._until - monotonic())

    def fail(self) -> None:
        """Start to wait; failures while it waits count as one."""
        if not self.left:
            self._until = monotonic() + self._next
            self._next = min(_LONGEST, 2 * self._next)

    def succeed(self) -> None:
        """Wait no more."""
        self._next, self._until = _FIRST, 0.0
