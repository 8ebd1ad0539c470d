"""What every request store decides alike, wherever it keeps its requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from automask.errors import AutomaskError, ParameterError

from ..errors import DeadlineError, InternalError, NotFoundError, QueueFullError

__all__ = ["FULL_RETRY_AFTER", "StorePolicy"]

_SOON: Final = 1.0  # seconds: a request may end any moment
FULL_RETRY_AFTER: Final = 30.0
"""Seconds after which to come again where there is no room: it comes back only as results expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePolicy:
    """The rules of a store, and what it says where they are broken.

    Attributes
    ----------
    encode_error
        Puts an error into the bytes that `Record.error` holds.
    retention
        Seconds for which a request is kept after its end.
    max_bytes
        Room that may be in use for a new request to be accepted.
    max_queue
        Requests that may wait.
    max_attempts
        How often work on a request may begin.
    lease_seconds
        How long a request stays with a worker that does not renew its lease.
    """

    encode_error: Callable[[AutomaskError], bytes]
    retention: float = 3600.0
    max_bytes: int = 4 << 30
    max_queue: int = 256
    max_attempts: int = 3
    lease_seconds: float = 30.0

    def check_room(self, *, waiting: int, used: int, wanted: int) -> None:
        """Raise `QueueFullError` where a new request has no place."""
        if waiting >= self.max_queue:
            raise QueueFullError(f"{waiting} requests wait already, which is the most", retry_after=_SOON)
        if used + wanted > self.max_bytes:
            raise QueueFullError(
                f"no room for {wanted:,} bytes more: the store uses {used:,} of at most {self.max_bytes:,}",
                retry_after=FULL_RETRY_AFTER,
            )

    def unknown(self, request_id: str) -> NotFoundError:
        """Make the error for one that is not there."""
        return NotFoundError(
            f"no request {request_id!r}: a request is kept for {self.retention:g} s after its end, for the key that "
            "it was submitted with"
        )

    def given_up(self, request_id: str, attempts: int) -> bytes:
        """Make the error of one that was lost at its last attempt, as it is kept."""
        return self.encode_error(
            InternalError(
                f"request {request_id} was given up after {attempts} attempts: each time the server died or lost it "
                "while working on it"
            )
        )

    def late(self, request_id: str, seconds: float) -> bytes:
        """Make the error of one whose deadline has passed, as it is kept."""
        return self.encode_error(
            DeadlineError(f"request {request_id} was not done within the {seconds:.6g} s that it was given")
        )

    @staticmethod
    def digest(model: str, task: bytes) -> bytes:
        """Tell tasks apart, for those who come with the same idempotency key."""
        return hashlib.sha256(model.encode() + b"\0" + task).digest()

    @staticmethod
    def check_same(key: str, digest: bytes, known: bytes) -> None:
        """Raise `ParameterError` where a key came with another task before."""
        if digest != known:
            raise ParameterError("idempotency_key", "be new, or come with the task that it was first used with", key)
