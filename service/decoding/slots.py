"""Slots of workers: a worker that waits for a slow decoder lets another one work meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["NO_SLOT", "SLOT", "GiveWayError", "Slot", "waiting"]


class GiveWayError(Exception):
    """The image is slow to decode and takes the last process: decode it again later, as a large one."""


class Slot(Protocol):
    """The slot of the current thread."""

    @property
    def is_large(self) -> bool:
        """Whether the image is large, or has turned out to be slow to decode."""

    def step_aside(self) -> None:
        """Give the slot to another worker; a second call does nothing."""

    def mark_slow(self) -> None:
        """Note that the image is slow to decode, and step aside."""

    def resume(self) -> None:
        """Take a slot again, if it was given away; never waits."""


class _NoSlot:
    is_large = False

    def step_aside(self) -> None:
        pass

    def mark_slow(self) -> None:
        pass

    def resume(self) -> None:
        pass


NO_SLOT = _NoSlot()
SLOT: ContextVar[Slot | None] = ContextVar("slot", default=None)


@contextmanager
def waiting() -> Iterator[Slot]:
    """Return the slot, which may be given away until the block ends."""
    slot = SLOT.get() or NO_SLOT
    try:
        yield slot
    finally:
        slot.resume()
