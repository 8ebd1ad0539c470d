"""What a request store does: what was accepted is kept, is worked on by one at a time, and reaches an end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from automask.errors import AutomaskError

from .clock import Clock
from .records import Lease, Record, SweepResult, Usage

__all__ = ["Store"]


class Store(Protocol):
    """Keeps requests. Safe to share between threads; several processes may open what lies behind it.

    Every method raises `StoreError` where what keeps the requests fails; if that is sure to pass by itself, as where a
    database is away, it is also an `UnavailableError`.

    Attributes
    ----------
    clock
        The time that deadlines count by.
    lease_seconds
        How long a request stays with a worker that does not renew its lease; renew in less.
    threads
        How many threads it is worth calling from at once.
    """

    clock: Clock
    lease_seconds: float
    threads: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; what is in work stays so until its lease runs out, or an SQLite file is opened again."""

    def add(
        self,
        task: bytes,
        *,
        owner: str,
        model: str,
        request_id: str | None = None,
        idempotency_key: str = "",
        deadline: float | None = None,
    ) -> Record:
        """Accept a request: it is on disk when this returns.

        Parameters
        ----------
        task
            What to do.
        owner
            Who asks.
        model
            Name of the model that shall work on it.
        request_id
            The id that it gets if it is new; by default one that nobody guesses.
        idempotency_key
            The owner's own name for the request; with one that is kept, the same task gives the same request.
        deadline
            Seconds from now within which it must be done; None for no limit.

        Returns
        -------
        The new request, or the one that came with this key before.

        Raises
        ------
        ParameterError
            The key came with another task before.
        QueueFullError
            Too many wait, or there is too little room; nothing was written.
        """

    def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        """Find the request that `add` would give instead of a new one; takes and raises the same."""

    def get(self, request_id: str, owner: str) -> Record:
        """Tell where a request is.

        Parameters
        ----------
        request_id
            As `add` gave it.
        owner
            Who asks.

        Returns
        -------
        The request, without its result.

        Raises
        ------
        NotFoundError
            The owner has no such request, or it has expired.
        """

    def result(self, request_id: str, owner: str) -> Record:
        """Tell the same as `get`, with the result of what is COMPLETED."""

    def cancel(self, request_id: str, owner: str) -> tuple[Record, bool]:
        """End a request that has not ended; takes and raises the same as `get`.

        Returns
        -------
        The request, and whether it was this call that ended it: of several that cancel at once, one hears yes.
        """

    def lease(self) -> Lease | None:
        """Take the head of the queue to work on it: attempts and fence grow by one.

        Returns
        -------
        The request, or None if nothing waits. What is past its deadline is left to `sweep`.
        """

    def renew(self, leases: Iterable[Lease]) -> set[str]:
        """Say that these are still worked on.

        Parameters
        ----------
        leases
            What to keep.

        Returns
        -------
        The ids that are; work on the others can stop, as they were cancelled, ran out of time, or went to another.
        """

    def complete(self, lease: Lease, result: bytes) -> bool:
        """End a request with its result.

        Parameters
        ----------
        lease
            What `lease` gave.
        result
            What came out.

        Returns
        -------
        Whether the lease still held. If not, nothing was written: the request was cancelled, ran out of time, or went
        to another.

        Raises
        ------
        StoreError
            Nothing was written and the lease still holds, so it can be tried again; the disk may be full.
        """

    def fail(self, lease: Lease, error: AutomaskError) -> bool:
        """End a request with an error; otherwise as `complete`."""

    def release(self, lease: Lease) -> bool:
        """Put a request back to the head of the queue, the attempt not counted; returns the same as `complete`."""

    def sweep(self) -> SweepResult:
        """Do what time has made due: fail what is late, take back what was lost, delete what has expired.

        Returns
        -------
        The ids that changed.
        """

    def usage(self) -> Usage:
        """Tell how full the store is."""

    def listen(self, timeout: float) -> frozenset[str] | None:
        """Wait until somebody else changes something; in a thread of its own.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Returns
        -------
        The ids of the requests that another `Store` changed, none if nothing happened; None where any may have, as at
        the first call. Nothing is missed between two calls.
        """

    def stop_listening(self) -> None:
        """Let `listen` return at once, from now on."""
