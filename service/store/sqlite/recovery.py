"""Recovery in SQLite: late, lost and expired requests, and times after a jump of the wall clock."""

from __future__ import annotations

import sqlite3
from typing import Final

from ...states import State
from ..recovery import BaseRecovery
from . import transitions

__all__ = ["Recovery"]

_BATCH: Final = 32  # requests deleted in one transaction: SQLite's log holds all of them twice


class Recovery(BaseRecovery[sqlite3.Connection]):
    """Changes requests as time passes; every method runs inside a transaction."""

    def requeue_all(self, db: sqlite3.Connection) -> tuple[list[str], dict[str, str]]:
        """Recover all requests that are PROCESSING: for a start at which no other process has the store open.

        Returns
        -------
        The ids of the requeued requests, and those of the failed ones with their owners.
        """
        rows = db.execute(
            "SELECT id, owner, attempts FROM requests WHERE state = ? ORDER BY position", (State.PROCESSING,)
        ).fetchall()
        return self._requeue_rows(db, rows)

    def requeue_lost(self, db: sqlite3.Connection) -> tuple[list[str], dict[str, str]]:
        """Recover the requests whose lease has expired; returns as `requeue_all` does."""
        rows = db.execute(
            "SELECT id, owner, attempts FROM requests WHERE state = ? AND lease_until <= ? ORDER BY position",
            (State.PROCESSING, self._clock.uptime()),
        ).fetchall()
        return self._requeue_rows(db, rows)

    def requeue(self, db: sqlite3.Connection, request_id: str) -> None:
        """Put a request at the end of the queue."""
        transitions.requeue(db, request_id)

    def put_back(self, db: sqlite3.Connection, request_id: str) -> None:
        """Put a request at the head of the queue."""
        transitions.put_back(db, request_id)

    def fail_late(self, db: sqlite3.Connection) -> dict[str, str]:
        """Fail the requests whose deadline has passed, and return their ids with their owners."""
        rows = db.execute(
            "SELECT id, owner, state, deadline - created FROM requests WHERE state IN (?, ?) AND deadline <= ?",
            (State.QUEUED, State.PROCESSING, self._clock.now()),
        ).fetchall()
        return self._fail_rows(db, rows)

    def fail(self, db: sqlite3.Connection, request_id: str, old: State, error: bytes) -> None:
        """End a request with an encoded error."""
        transitions.end(
            db,
            request_id,
            old,
            State.FAILED,
            now=self._clock.now(),
            retention=self._policy.retention,
            error=error,
        )

    def delete_expired(self, db: sqlite3.Connection) -> list[str]:
        """Delete some expired requests, and return their ids; none once all are deleted."""
        ids = db.execute("SELECT id FROM requests WHERE expires <= ? LIMIT ?", (self._clock.now(), _BATCH)).fetchall()
        db.executemany("DELETE FROM requests WHERE id = ?", ids)
        return [row[0] for row in ids]

    def correct_times(self, db: sqlite3.Connection) -> None:
        """Correct times in the future, which exist if the wall clock was set back while no server ran."""
        now = self._clock.now()
        db.execute(
            "UPDATE requests SET deadline = deadline - created + ?1, started = min(started, ?1), "
            "ended = min(ended, ?1), created = ?1 WHERE created > ?1",
            (now,),
        )
        db.execute("UPDATE requests SET expires = ?1 WHERE expires > ?1", (now + self._policy.retention,))
