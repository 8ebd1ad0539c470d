"""Policy of a request store: its limits, its retention, and the errors of requests that break them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from automask.errors import AutomaskError, ParameterError

from ..errors import DeadlineError, InternalError, NotFoundError, QueueFullError

__all__ = ["FULL_RETRY_AFTER", "StorePolicy"]

_QUEUE_RETRY_AFTER: Final = 1.0  # seconds: a place in the queue can become free at any moment
FULL_RETRY_AFTER: Final = 30.0
"""Seconds after which to retry if the store is full: room is freed only as results expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePolicy:
    """Limits and retention, the same for every kind of store.

    Attributes
    ----------
    encode_error
        Encodes an error for `Record.error`.
    retention
        Seconds for which a request is kept after it has ended.
    max_bytes
        Bytes of the store from which on new requests are refused.
    max_queue
        Number of queued requests from which on new requests are refused.
    is_fair
        Whether owners share the queue: none has more requests in it than there are free places, so that another owner
        always finds one; and the owner with the fewest requests in work is next.
    max_attempts
        Number of attempts after which a request fails instead of being queued again.
    max_put_backs
        Number of drains that may interrupt a request before an interrupted attempt counts.
    lease_seconds
        Seconds for which a worker holds a request without renewing its lease.
    """

    encode_error: Callable[[AutomaskError], bytes]
    retention: float = 3600.0
    max_bytes: int = 4 << 30
    max_queue: int = 256
    is_fair: bool = False
    max_attempts: int = 3
    max_put_backs: int = 10
    lease_seconds: float = 30.0

    def check_room(self, *, waiting: int, own: int, used: int, wanted: int) -> None:
        """Raise `QueueFullError` if there is no room for a new request.

        Parameters
        ----------
        waiting, own
            Number of queued requests, and of those of the same owner.
        used, wanted
            Bytes in use, and bytes of the new request.
        """
        if waiting >= self.max_queue:
            raise QueueFullError(
                f"the queue is full: {waiting} requests are waiting (limit {self.max_queue})",
                retry_after=_QUEUE_RETRY_AFTER,
            )
        free = self.max_queue - waiting
        if self.is_fair and own >= free:
            raise QueueFullError(
                f"the share of this key in the queue is full: {own} of its requests are waiting, and {free} free "
                f"places are left for other keys (limit {self.max_queue} for all keys)",
                retry_after=_QUEUE_RETRY_AFTER,
            )
        if used + wanted > self.max_bytes:
            raise QueueFullError(
                f"the store is full: no room for {wanted:,} bytes, {used:,} are in use (limit {self.max_bytes:,})",
                retry_after=FULL_RETRY_AFTER,
            )

    def not_found(self, request_id: str) -> NotFoundError:
        """Return the error for a request that the owner does not have."""
        return NotFoundError(
            f"no request {request_id!r}: unknown, submitted with another key, or deleted {self.retention:g} s after "
            "its end"
        )

    def given_up(self, request_id: str, attempts: int) -> bytes:
        """Return the encoded error of a request whose last attempt was lost."""
        return self.encode_error(
            InternalError(
                f"request {request_id} was given up after {attempts} attempts: each time the server died or its lease "
                f"expired, or a drain interrupted it (the first {self.max_put_backs} drains do not count)"
            )
        )

    def late(self, request_id: str, seconds: float) -> bytes:
        """Return the encoded error of a request whose deadline, in seconds after its creation, has passed."""
        return self.encode_error(DeadlineError(f"request {request_id} missed its deadline of {seconds:.6g} s"))

    @staticmethod
    def digest(model: str, task: bytes) -> bytes:
        """Return a hash of a task, which tells whether an idempotency key comes with the same task again."""
        return hashlib.sha256(model.encode() + b"\0" + task).digest()

    @staticmethod
    def check_same_task(key: str, digest: bytes, known: bytes) -> None:
        """Raise `ParameterError` if an idempotency key was used with another task before."""
        if digest != known:
            raise ParameterError("idempotency_key", "be new, or come with the task that it was first used with", key)
