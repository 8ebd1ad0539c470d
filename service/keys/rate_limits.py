"""Rate limits such as `10/s`, and the protocol of token buckets."""

# Not the package `limits`: it has no token buckets, no exact time to retry, and no PostgreSQL.

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from automask.errors import ParameterError

from ..config.durations import format_duration
from ..errors import RateLimitError

__all__ = ["Rate", "RateLimiter"]

_NANOSECONDS = {"s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
_RATE = re.compile("([0-9]{1,9})/([a-z]+)")
_MAX_COUNT = 1_000_000
_REQUIREMENT = f"be a whole number from 1 to {_MAX_COUNT} per s, min or h, such as 10/s, 100/min or 5000/h"


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests per period.

    Parameters
    ----------
    count
        Requests, 1 to 1,000,000; also the size of the burst.
    unit
        Period: ``"s"``, ``"min"`` or ``"h"``.

    Raises
    ------
    ParameterError
        A value is invalid.
    """

    count: int
    unit: str

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MAX_COUNT or self.unit not in _NANOSECONDS:
            raise ParameterError("rate", _REQUIREMENT, str(self))

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Parse a rate.

        Examples
        --------
        >>> Rate.parse("100/min")
        Rate(count=100, unit='min')
        >>> str(Rate(10, "s"))
        '10/s'
        """
        match = _RATE.fullmatch(text)
        if match is None:
            raise ParameterError("rate", _REQUIREMENT, text)
        return cls(int(match[1]), match[2])

    @property
    def nanoseconds(self) -> int:
        """Length of the period."""
        return _NANOSECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


class RateLimiter(ABC):
    """A token bucket for each key: it holds `Rate.count` tokens, refills steadily, and each request takes one."""

    def take(self, name: str, rate: Rate | None) -> None:
        """Take one token.

        Parameters
        ----------
        name
            Name of the key.
        rate
            Its rate limit; None for unlimited. A changed rate starts with a full bucket.

        Raises
        ------
        RateLimitError
            The bucket is empty. `retry_after` is the number of seconds until the next token.
        """
        if rate is None:
            return
        wait = self._take(name, rate)
        if wait > 0:
            seconds = wait / 1e9
            raise RateLimitError(
                f"rate limit exceeded for key {name!r} ({rate}); retry in {format_duration(seconds)}",
                retry_after=seconds,
            )

    @abstractmethod
    def _take(self, name: str, rate: Rate) -> int:
        """Take a token and return 0, or return the nanoseconds until the next one."""
