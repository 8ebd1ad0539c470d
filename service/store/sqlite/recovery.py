"""What becomes of requests by themselves: late, lost by their worker, expired. Each step is inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from ...states import State
from ..clock import Clock
from ..policy import StorePolicy
from . import transitions

__all__ = ["Recovery"]

_BATCH = 32  # requests deleted in one transaction: SQLite's log holds all of them twice


@dataclass(frozen=True, slots=True)
class Recovery:
    """The steps, as the rules want them.

    Attributes
    ----------
    clock
        The time.
    policy
        How often and how long.
    """

    clock: Clock
    policy: StorePolicy

    def take_back_all(self, db: sqlite3.Connection) -> tuple[list[str], dict[str, str]]:
        """Take back all that is in work: for a start at which nobody else has the store open.

        Returns
        -------
        The ids that are QUEUED again, and those that FAILED after the last attempt, with their owners.
        """
        return self._take_back(
            db,
            db.execute(
                "SELECT id, owner, attempts FROM requests WHERE state = ? ORDER BY position", (State.PROCESSING,)
            ).fetchall(),
        )

    def take_back_lost(self, db: sqlite3.Connection) -> tuple[list[str], dict[str, str]]:
        """Take back what nobody has renewed the lease of; returns the same as `take_back_all`."""
        return self._take_back(
            db,
            db.execute(
                "SELECT id, owner, attempts FROM requests WHERE state = ? AND lease_until <= ? ORDER BY position",
                (State.PROCESSING, self.clock.uptime()),
            ).fetchall(),
        )

    def _take_back(
        self, db: sqlite3.Connection, rows: Iterable[tuple[str, str, int]]
    ) -> tuple[list[str], dict[str, str]]:
        requeued, given_up = [], {}
        for request_id, owner, attempts in rows:
            if attempts < self.policy.max_attempts:
                transitions.requeue(db, request_id)
                requeued.append(request_id)
            else:
                error = self.policy.given_up(request_id, attempts)
                self.fail(db, request_id, State.PROCESSING, error)
                given_up[request_id] = owner
        return requeued, given_up

    def fail_late(self, db: sqlite3.Connection) -> dict[str, str]:
        """Fail what was not done by its deadline, and return the ids with their owners."""
        now = self.clock.now()
        rows = db.execute(
            "SELECT id, owner, state, deadline - created FROM requests WHERE state IN (?, ?) AND deadline <= ?",
            (State.QUEUED, State.PROCESSING, now),
        ).fetchall()
        for request_id, _, state, seconds in rows:
            self.fail(db, request_id, State(state), self.policy.late(request_id, seconds))
        return {row[0]: row[1] for row in rows}

    def fail(self, db: sqlite3.Connection, request_id: str, old: State, error: bytes) -> None:
        """End a request with an error, as `StorePolicy.encode_error` put it."""
        transitions.end(
            db,
            request_id,
            old,
            State.FAILED,
            now=self.clock.now(),
            retention=self.policy.retention,
            error=error,
        )

    def delete_expired(self, db: sqlite3.Connection) -> list[str]:
        """Delete some of what has expired, and return the ids; none once all is deleted."""
        ids = db.execute("SELECT id FROM requests WHERE expires <= ? LIMIT ?", (self.clock.now(), _BATCH)).fetchall()
        db.executemany("DELETE FROM requests WHERE id = ?", ids)
        return [row[0] for row in ids]

    def mend_times(self, db: sqlite3.Connection) -> None:
        """Bring back what lies too far ahead, because the wall clock went back while no server ran."""
        now = self.clock.now()
        db.execute(
            "UPDATE requests SET deadline = deadline - created + ?1, started = min(started, ?1), "
            "ended = min(ended, ?1), created = ?1 WHERE created > ?1",
            (now,),
        )
        db.execute("UPDATE requests SET expires = ?1 WHERE expires > ?1", (now + self.policy.retention,))
