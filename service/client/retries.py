"""Retries of a client: which errors are transient, how long to pause, and when to give up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import grpc
from tenacity import AttemptManager, RetryCallState, retry_if_exception, wait_random_exponential

from automask.errors import AutomaskError

from ..wire.status import row_of

__all__ = ["MAX_ATTEMPTS", "Deadline", "count_anew", "is_transient", "pause", "retry_options"]

MAX_ATTEMPTS: Final = 8  # about 6 s of pauses on average, 13 s at most: time for a server to restart
_JITTER: Final = wait_random_exponential(multiplier=0.1, max=5.0)


def is_transient(error: BaseException) -> bool:
    """Return whether the next attempt may succeed: the server is unavailable, or says when to retry."""
    if not isinstance(error, AutomaskError):
        return False
    code = row_of(error).code
    return code is grpc.StatusCode.UNAVAILABLE or (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED and _retry_after(error) is not None
    )


def pause(state: RetryCallState) -> float:
    """Return the seconds to wait before the next attempt: the server's ``RetryInfo``, plus exponential full jitter.

    References
    ----------
    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    error = state.outcome.exception() if state.outcome else None
    return (_retry_after(error) or 0.0) + _JITTER(state)


def _retry_after(error: BaseException | None) -> float | None:
    return getattr(error, "retry_after", None)


class Deadline:
    """The time for a call, all its attempts together.

    Parameters
    ----------
    timeout
        Seconds from now; None for no limit.
    clock
        Returns seconds that only grow.
    """

    def __init__(self, timeout: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if timeout is None else clock() + timeout

    @property
    def left(self) -> float | None:
        """Seconds left, 0 or more; None without a limit."""
        return None if self._end is None else max(0.0, self._end - self._clock())


def retry_options(deadline: Deadline, max_attempts: int | None = MAX_ATTEMPTS) -> dict[str, Any]:
    """Return the parameters of `tenacity.Retrying` and `tenacity.AsyncRetrying`.

    Parameters
    ----------
    deadline
        Give up if the next pause would pass it.
    max_attempts
        Give up after this many failures in a row; None for no limit.
    """

    def is_over(state: RetryCallState) -> bool:
        left = deadline.left
        return state.attempt_number == max_attempts or (left is not None and state.upcoming_sleep >= left)

    return {"retry": retry_if_exception(is_transient), "wait": pause, "stop": is_over, "reraise": True}


def count_anew(attempt: AttemptManager) -> None:
    """Forget earlier failures: this attempt received an answer, so the server is there."""
    attempt.retry_state.attempt_number = 1
