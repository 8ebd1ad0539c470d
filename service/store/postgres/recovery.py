"""Recovery in PostgreSQL: late, lost and expired requests."""

from __future__ import annotations

from typing import Final

from ...postgres.database import Db
from ...states import State
from ..records import Lease
from ..recovery import BaseRecovery
from .statements import DELETE_EXPIRED, HELD, LATE, LOST
from .transitions import Transitions

__all__ = ["Recovery"]

_BATCH: Final = 1000  # requests deleted in one transaction


class Recovery(BaseRecovery[Db]):
    """Changes requests as time passes; every method runs inside a transaction.

    Parameters
    ----------
    transitions
        Changes the states.
    """

    def __init__(self, transitions: Transitions) -> None:
        super().__init__(transitions.clock, transitions.policy)
        self._transitions = transitions

    def fail_late(self, db: Db) -> dict[str, str]:
        """Fail the requests whose deadline has passed, and return their ids with their owners."""
        return self._fail_rows(db, db.execute(LATE, [self._clock.now()]).fetchall())

    def fail(self, db: Db, request_id: str, old: State, error: bytes) -> None:
        """End a request with an encoded error."""
        self._transitions.end(db, request_id, old, State.FAILED, self._transitions.server_id, error=error)

    def requeue_lost(self, db: Db) -> tuple[list[str], dict[str, str]]:
        """Recover the requests whose lease has expired.

        Returns
        -------
        The ids of the requeued requests, and those of the failed ones with their owners.
        """
        return self._requeue_rows(db, db.execute(LOST, [self._clock.now()]).fetchall())

    def requeue(self, db: Db, request_id: str) -> None:
        """Put a request at the end of the queue."""
        self._transitions.requeue(db, request_id)

    def put_back(self, db: Db, request_id: str) -> None:
        """Put a request at the head of the queue."""
        self._transitions.put_back(db, request_id)

    def put_back_held(self, db: Db, lease: Lease) -> State | None:
        """Put back the request of a lease, or fail it; returns as `PostgresStore.put_back` does."""
        row = db.execute(HELD, {"id": lease.request_id, "fence": lease.fence}).fetchone()
        return self.put_back_or_fail(db, *row) if row else None

    def delete_expired(self, db: Db, *, owner: str = "", key: bytes | None = None) -> list[str]:
        """Delete some expired requests, and return their ids; none once all are deleted.

        Parameters
        ----------
        db
            An open transaction.
        owner, key
            Delete only the request with this idempotency key of this owner; without a key, all expired ones.
        """
        values = {"now": self._clock.now(), "owner": owner, "key": key, "most": _BATCH}
        return [request_id for (request_id,) in db.execute(DELETE_EXPIRED, values)]
