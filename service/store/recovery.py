"""Recovery of requests that missed their deadline or lost their worker: the decisions, the same for every store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from ..states import State
from .clock import Clock
from .policy import StorePolicy

__all__ = ["BaseRecovery"]

Transaction = TypeVar("Transaction")


class BaseRecovery(ABC, Generic[Transaction]):
    """Fails and requeues requests, inside a transaction.

    Parameters
    ----------
    clock
        The time.
    policy
        Attempts and errors.
    """

    def __init__(self, clock: Clock, policy: StorePolicy) -> None:
        self._clock, self._policy = clock, policy

    @abstractmethod
    def fail(self, db: Transaction, request_id: str, old: State, error: bytes) -> None:
        """End a request with an encoded error."""

    @abstractmethod
    def requeue(self, db: Transaction, request_id: str) -> None:
        """Put a request that is PROCESSING at the end of the queue."""

    @abstractmethod
    def put_back(self, db: Transaction, request_id: str) -> None:
        """Put a request that is PROCESSING at the head of the queue, without its attempt, and count that."""

    def put_back_or_fail(self, db: Transaction, request_id: str, owner: str, attempts: int, put_backs: int) -> State:
        """Put back a request that a drain interrupted, without its attempt while it was put back seldom enough.

        Returns
        -------
        QUEUED, or FAILED after its last attempt.
        """
        if put_backs < self._policy.max_put_backs:
            self.put_back(db, request_id)
            return State.QUEUED
        requeued, _ = self._requeue_rows(db, [(request_id, owner, attempts)])
        return State.QUEUED if requeued else State.FAILED

    def _fail_rows(self, db: Transaction, rows: Iterable[tuple[str, str, str, float]]) -> dict[str, str]:
        """Fail requests whose deadline has passed.

        Parameters
        ----------
        db
            An open transaction.
        rows
            Id, owner, state, and seconds from creation to deadline.

        Returns
        -------
        The ids, with their owners.
        """
        late = {}
        for request_id, owner, state, seconds in rows:
            self.fail(db, request_id, State(state), self._policy.late(request_id, seconds))
            late[request_id] = owner
        return late

    def _requeue_rows(self, db: Transaction, rows: Iterable[tuple[str, str, int]]) -> tuple[list[str], dict[str, str]]:
        """Requeue requests that lost their worker, or fail them after their last attempt.

        Parameters
        ----------
        db
            An open transaction.
        rows
            Id, owner and attempts.

        Returns
        -------
        The ids of the requeued requests, and those of the failed ones with their owners.
        """
        requeued, given_up = [], {}
        for request_id, owner, attempts in rows:
            if attempts < self._policy.max_attempts:
                self.requeue(db, request_id)
                requeued.append(request_id)
            else:
                self.fail(db, request_id, State.PROCESSING, self._policy.given_up(request_id, attempts))
                given_up[request_id] = owner
        return requeued, given_up
