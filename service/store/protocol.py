"""The protocol of request stores: an accepted request is on disk, has one worker at a time, and ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from automask.errors import AutomaskError

from ..states import State
from .clock import Clock
from .records import Lease, Record, SweepResult, Usage

__all__ = ["Store"]


class Store(Protocol):
    """Keeps requests. Threads may share it; several processes may open the same file or database.

    Every method raises `StoreError` if the file or database fails. If that is transient, as when a database is
    unreachable, the error is also an `UnavailableError`.

    Attributes
    ----------
    clock
        The time by which deadlines are measured.
    lease_seconds
        Seconds for which a lease holds without being renewed.
    threads
        Number of threads that can use the store in parallel.
    """

    clock: Clock
    lease_seconds: float
    threads: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Leased requests stay so until the lease expires or, in SQLite, the file is opened again."""

    def add(
        self,
        task: bytes,
        *,
        owner: str,
        model: str,
        request_id: str | None = None,
        idempotency_key: str = "",
        deadline: float | None = None,
        is_large: bool = False,
    ) -> Record:
        """Accept a request. When this returns, it is on disk.

        Parameters
        ----------
        task
            The encoded task.
        owner
            Name of the key that submits it.
        model
            Name of the model that works on it.
        request_id
            Id of the request if it is new; by default a random one that cannot be guessed.
        idempotency_key
            The owner's own name for the request. A key that is known, with the same task, returns the same request.
        deadline
            Seconds from now within which it must end; None for no deadline.
        is_large
            Whether its image is large.

        Returns
        -------
        The new request, or the earlier one with this key.

        Raises
        ------
        ParameterError
            The key was used with another task before.
        QueueFullError
            The queue or the store is full; nothing was written.
        """

    def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        """Return the request that `add` would return instead of a new one; parameters and errors are those of `add`."""

    def get(self, request_id: str, owner: str) -> Record:
        """Return a request, without its result.

        Parameters
        ----------
        request_id
            Id of the request.
        owner
            Name of the key that submitted it.

        Raises
        ------
        NotFoundError
            The owner has no such request, or it has expired.
        """

    def result(self, request_id: str, owner: str) -> Record:
        """Return a request as `get` does, with its result if it is COMPLETED."""

    def cancel(self, request_id: str, owner: str) -> tuple[Record, bool]:
        """End a request that has not ended; parameters and errors are those of `get`.

        Returns
        -------
        The request, and whether this call ended it: of several concurrent calls, one gets True.
        """

    def lease(self, *, only_small: bool = False) -> Lease | None:
        """Take the first request of the queue; its attempts and its fence grow by one.

        Parameters
        ----------
        only_small
            Take the first one whose image is not large.

        Returns
        -------
        The request, or None if there is none. Requests past their deadline are left to `sweep`.
        """

    def renew(self, leases: Iterable[Lease]) -> set[str]:
        """Renew leases.

        Parameters
        ----------
        leases
            The requests that are still worked on.

        Returns
        -------
        The ids of those that are still held. Work on the others can stop: they were cancelled, missed their deadline,
        or are held by another worker.
        """

    def complete(self, lease: Lease, result: bytes) -> bool:
        """End a request with its result.

        Parameters
        ----------
        lease
            The lease under which it was worked on.
        result
            The encoded result.

        Returns
        -------
        Whether the lease still held. If not, nothing was written: the request was cancelled, missed its deadline, or
        is held by another worker.

        Raises
        ------
        StoreError
            Nothing was written and the lease still holds, so the call can be repeated; the disk may be full.
        """

    def fail(self, lease: Lease, error: AutomaskError) -> bool:
        """End a request with an error; returns and raises as `complete` does."""

    def release(self, lease: Lease, *, is_large: bool = False) -> bool:
        """Return a request to its position in the queue, without counting the attempt.

        Parameters
        ----------
        lease
            Its lease.
        is_large
            Mark its image as large.

        Returns as `complete` does.
        """

    def put_back(self, lease: Lease) -> State | None:
        """Return a request that a drain interrupted to the queue, or fail it.

        The attempt counts once `StorePolicy.max_put_backs` drains have interrupted the request. Until then, the
        request goes to the head of the queue, afterwards to its end.

        Returns
        -------
        QUEUED, or FAILED if that was its last attempt; None if the lease no longer holds.
        """

    def sweep(self) -> SweepResult:
        """Fail requests past their deadline, requeue those whose lease expired, delete those past their retention.

        Returns
        -------
        The ids of the changed requests.
        """

    def usage(self) -> Usage:
        """Return how full the store is."""

    def listen(self, timeout: float) -> frozenset[str] | None:
        """Wait until another `Store` changes a request. Call it in a thread of its own.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Returns
        -------
        The ids of the changed requests; empty after the timeout or `stop_listening`; None if any request may have
        changed, as at the first call. No change between two calls is missed.
        """

    def stop_listening(self) -> None:
        """Make `listen` return at once, from now on."""
