"""The limit on waiting tasks."""

from __future__ import annotations

from ..errors import QueueFullError

__all__ = ["Backlog"]

_FIRST_GUESS = 0.1  # seconds that a task takes, until tasks have been measured
_WEIGHT = 0.1  # of the last task in the moving average


class Backlog:
    """Refuses tasks while too many wait, and estimates when there will be room.

    Parameters
    ----------
    workers
        Number of tasks that run at once.
    max_queue
        Maximum number of waiting tasks.
    """

    def __init__(self, *, workers: int, max_queue: int) -> None:
        self._workers, self._max_queue = workers, max_queue
        self._seconds_each = _FIRST_GUESS

    def is_full(self, waiting: int) -> bool:
        """Whether one more task would be too many."""
        return waiting >= self._max_queue

    def check(self, waiting: int) -> None:
        """Raise `QueueFullError`, with the estimated time until the waiting tasks have run, if there is no room."""
        if self.is_full(waiting):
            raise QueueFullError(
                f"{waiting} requests wait already, the maximum of this server (--max-queue)",
                retry_after=waiting * self._seconds_each / self._workers,
            )

    def record(self, seconds: float) -> None:
        """Record how long a task took."""
        self._seconds_each += _WEIGHT * (seconds - self._seconds_each)
