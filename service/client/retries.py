"""When a client tries again, and how long it waits before. No input or output here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

import grpc

from automask.errors import AutomaskError

from ..wire.status import row_of

__all__ = ["MAX_TRIES", "Tries", "backoff", "passes"]

MAX_TRIES: Final = 8  # some 6 s on average and 13 at most: a server restarts in that time
_FIRST, _LONGEST = 0.1, 5.0


def passes(error: AutomaskError) -> bool:
    """Whether an error may be gone at the next try: nobody there, or a server that says when to come again."""
    code = row_of(error).code
    told = getattr(error, "retry_after", None) is not None
    return code == grpc.StatusCode.UNAVAILABLE or (code == grpc.StatusCode.RESOURCE_EXHAUSTED and told)


def backoff(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait before the next try: exponential, with full jitter.

    Parameters
    ----------
    failures
        How often it failed in a row, 1 or more.
    retry_after
        Seconds that the server wants to be left alone; the jitter comes on top of them.
    chance
        A random number, 0..1.

    References
    ----------
    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Examples
    --------
    >>> backoff(1, None, 1.0), backoff(3, None, 1.0), backoff(100, None, 1.0), backoff(1, 2.0, 0.5)
    (0.1, 0.4, 5.0, 2.05)
    """
    # An exponent without bound would end in an overflow.
    return (retry_after or 0.0) + chance * min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 10))


class Tries:
    """The tries of one call, within its time.

    Parameters
    ----------
    timeout
        Seconds for all of them together; None for as long as it takes.
    most
        How often to try at most; None for as often as time allows.
    clock
        Tells the seconds.
    chance
        Draws the jitter, 0..1.
    """

    def __init__(
        self,
        timeout: float | None,
        *,
        most: int | None = MAX_TRIES,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock, self._chance, self._most = clock, chance, most
        self._end = None if timeout is None else clock() + timeout
        self._failures = 0

    @property
    def left(self) -> float | None:
        """Seconds that are left, 0 or more; None without a limit."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def went_well(self) -> None:
        """Begin to count anew."""
        self._failures = 0

    def after(self, error: AutomaskError) -> float:
        """Tell how many seconds to wait before trying again.

        Parameters
        ----------
        error
            Why the last try failed.

        Raises
        ------
        AutomaskError
            That error: it will not pass, was met too often, or there is no time left.
        """
        self._failures += 1
        pause = backoff(self._failures, getattr(error, "retry_after", None), self._chance())
        left = self.left
        if not passes(error) or self._failures == self._most or (left is not None and pause >= left):
            raise error
        return pause
