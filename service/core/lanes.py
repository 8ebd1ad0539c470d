"""Two lanes for tasks: large images never take all workers and threads, so that small ones need not wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from automask.headers import stated_work

__all__ = ["Lanes", "Seat", "is_large"]

_LARGE_PIXELS, _LARGE_BYTES = 4_000_000, 4_000_000
_RECENT_SECONDS = 1.0


def is_large(image: bytes | NDArray[np.uint8]) -> bool:
    """Whether decoding and drawing an image may take long, by its length and by what its header states."""
    if not isinstance(image, bytes):
        height, width = image.shape[:2]
        return int(height * width) > _LARGE_PIXELS
    return len(image) > _LARGE_BYTES or stated_work(image) > _LARGE_PIXELS


@dataclass(eq=False, slots=True)
class Seat:
    """One running batch.

    Attributes
    ----------
    is_large
        Whether its image is large, or has turned out to be slow.
    is_aside
        Whether it only waits for a decoder, and another batch may use its worker.
    """

    is_large: bool
    is_aside: bool = False


class Lanes:
    """Decides which tasks may start. The caller holds a lock.

    Parameters
    ----------
    workers
        Number of batches that run at once. If large images take all workers, one small image still runs beside them.
    most_large
        Number of large images that may be in work, those included that wait for a decoder; one less for a second after
        a small one, so that the next small one finds a processor.
    clock
        Returns seconds that only grow.
    """

    def __init__(self, workers: int, most_large: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._workers, self._most_large, self._clock = workers, most_large, clock
        self._seats: set[Seat] = set()
        self._last_small = -_RECENT_SECONDS

    @property
    def busy(self) -> int:
        """Number of workers in use."""
        return sum(not seat.is_aside for seat in self._seats)

    def choose(self, queue: Iterable[bool]) -> int | None:
        """Return the index of the first task that may start, None if all must wait.

        Parameters
        ----------
        queue
            Whether the image of each waiting task is large, oldest task first.
        """
        large = sum(seat.is_large for seat in self._seats)
        busy_large = sum(seat.is_large and not seat.is_aside for seat in self._seats)
        busy_small = self.busy - busy_large
        is_mixed = self._clock() - self._last_small < _RECENT_SECONDS
        # Never none: what ends is what lets the threads look again.
        large_may_start = large < max(1, self._most_large - is_mixed) and self.busy < self._workers
        small_may_start = busy_small + min(busy_large, self._workers - 1) < self._workers
        may_start = (large_may_start if is_large else small_may_start for is_large in queue)
        return next((index for index, may in enumerate(may_start) if may), None)

    def enter(self, *, is_large: bool) -> Seat:
        """Start a batch."""
        seat = Seat(is_large)
        if not is_large:
            self._last_small = self._clock()
        self._seats.add(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """End a batch."""
        self._seats.discard(seat)
