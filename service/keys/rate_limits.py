"""How often a key may come: `10/s`, and the buckets that hold it to that."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from automask.errors import ParameterError

from ..config.durations import format_duration
from ..errors import RateLimitError

__all__ = ["Rate", "RateLimiter"]

_NANOSECONDS = {"s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
_RATE = re.compile("([0-9]{1,9})/([a-z]+)")
_MOST = 1_000_000
_RIGHT = "be a whole number from 1 to 1000000 per s, min or h, such as 10/s, 100/min or 5000/h"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in a span of time.

    Parameters
    ----------
    count
        Requests, 1 to 1,000,000; this many may also come at once.
    unit
        The span: ``"s"``, ``"min"`` or ``"h"``.

    Raises
    ------
    ParameterError
        One of them is something else.
    """

    count: int
    unit: str

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST or self.unit not in _NANOSECONDS:
            raise ParameterError("rate", _RIGHT, str(self))

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read a rate.

        Examples
        --------
        >>> Rate.parse("100/min")
        Rate(count=100, unit='min')
        >>> str(Rate(10, "s"))
        '10/s'
        """
        match = _RATE.fullmatch(text)
        if match is None:
            raise ParameterError("rate", _RIGHT, text)
        return cls(int(match[1]), match[2])

    @property
    def nanoseconds(self) -> int:
        """Length of the span."""
        return _NANOSECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


class RateLimiter:
    """A bucket of tokens for each key: as many as the rate's count, filled up steadily, one taken by each request.

    Parameters
    ----------
    clock
        Nanoseconds of a steady clock.
    """

    def __init__(self, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._lock = Lock()
        # A bucket is one number: when it is full again. Counted in nanoseconds times the rate's count, where every
        # number is whole and nothing is ever rounded in anyone's favour.
        self._full_at: OrderedDict[tuple[str, Rate], int] = OrderedDict()

    def take(self, name: str, rate: Rate | None) -> None:
        """Take one token of the key, or raise.

        Parameters
        ----------
        name
            Name of the key.
        rate
            How often it may come; None for as often as it likes. Another rate than before starts with a full bucket.

        Raises
        ------
        RateLimitError
            No token is there; nothing is taken. `retry_after` tells in how many seconds one will be.
        """
        if rate is None:
            return
        wait = self._wait(name, rate)
        if wait > 0:
            seconds = wait / 1e9
            raise RateLimitError(
                f"the key {name!r} may come {rate}; try again in {format_duration(seconds)}", retry_after=seconds
            )

    def _wait(self, name: str, rate: Rate) -> int:
        """Take a token and return 0, or return the nanoseconds until there is one."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            return self._try(name, rate, now)

    def _try(self, name: str, rate: Rate, now: int) -> int:
        bucket = name, rate
        full_at = max(self._full_at.get(bucket, 0), now * rate.count) + rate.nanoseconds
        excess = full_at - (now + rate.nanoseconds) * rate.count
        if excess > 0:
            return -(-excess // rate.count)
        self._full_at[bucket] = full_at
        self._full_at.move_to_end(bucket)
        return 0

    def _forget(self, now: int) -> None:
        """Drop full buckets from the end that was not used for longest: a new one is full as well."""
        while self._full_at:
            bucket = next(iter(self._full_at))
            if self._full_at[bucket] > now * bucket[1].count:
                return
            del self._full_at[bucket]
