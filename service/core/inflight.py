"""Bytes in flight: what a server holds of bodies and messages, over all its clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import QueueFullError

__all__ = ["Held", "InFlight"]

_SMALL: Final = 1_000_000  # bytes; bodies up to this size may use all of the limit
_LARGE_SHARE: Final = 0.75  # of the limit for larger ones, so that a few clients with large files block no others
_RETRY_SECONDS: Final = 1.0


class InFlight:
    """Limits the bytes in flight.

    Parameters
    ----------
    limit
        Maximum number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @contextmanager
    def call(self) -> Iterator[Held]:
        """Account for one call: its bytes count until the end of the block."""
        held = Held(self)
        try:
            yield held
        finally:
            held.release()


class Held:
    """Bytes that one call holds.

    Parameters
    ----------
    total
        The bytes of all calls.
    """

    def __init__(self, total: InFlight) -> None:
        self._total = total
        self.size = 0

    def check(self, more: int) -> None:
        """Raise `QueueFullError` if this call cannot hold so many more bytes."""
        limit = self._total.limit * (_LARGE_SHARE if self.size + more > _SMALL else 1)
        if self._total.used + more > limit:
            raise QueueFullError(
                f"this server holds {self._total.used / 1e6:.0f} MB of bodies and messages, of at most "
                f"{self._total.limit / 1e6:g} MB (`automask serve --max-inflight-mb`)",
                retry_after=_RETRY_SECONDS,
            )

    def add(self, size: int) -> None:
        """Hold more bytes; raises as `check` does."""
        self.check(size)
        self.size += size
        self._total.used += size

    def release(self) -> None:
        """Hold nothing any more."""
        self._total.used -= self.size
        self.size = 0
