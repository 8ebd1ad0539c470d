"""All changes of a request's state: inside a transaction, and as the table of states allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ...postgres.database import Db
from ...postgres.notifications import notify
from ...states import State, check_transition
from ..clock import Clock
from ..policy import StorePolicy
from ..records import Lease
from .statements import END, LEASE, LEASE_FAIR, PUT_BACK, RELEASE, REQUEUE

__all__ = ["ROW_BYTES", "Transitions", "token_of"]

ROW_BYTES: Final = 1000
"""Bytes that a request takes besides its task and its result, approximately."""


def token_of(lease: Lease) -> str:
    """Return the token of a call that ends a request under this lease, see `PostgresStore`."""
    return f"{lease.request_id} {lease.fence}"


@dataclass(frozen=True, slots=True)
class Transitions:
    """Changes states, and notifies the other servers once the transaction is committed.

    Attributes
    ----------
    clock
        The time.
    policy
        Retention and lease time.
    server_id
        Identifies this server in notifications.
    """

    clock: Clock
    policy: StorePolicy
    server_id: str

    def notify(self, db: Db, request_id: str) -> None:
        """Notify the other servers of a change."""
        notify(db, self.server_id, request_id)

    def start(self, db: Db, *, only_small: bool) -> tuple[Any, ...] | None:
        """Lease the next request of the queue, and return its row; None if there is none."""
        now = self.clock.now()
        values = {
            "state": check_transition(State.QUEUED, State.PROCESSING),
            "now": now,
            "until": now + self.policy.lease_seconds,
            "only_small": only_small,
        }
        row = db.execute(LEASE_FAIR if self.policy.is_fair else LEASE, values).fetchone()
        if row is not None:
            self.notify(db, row[0])
        return row

    def release(self, db: Db, lease: Lease, *, is_large: bool) -> bool:
        """Undo a start; returns whether the lease still held."""
        values = {
            "id": lease.request_id,
            "fence": lease.fence,
            "state": check_transition(State.PROCESSING, State.QUEUED),
            "is_large": is_large,
        }
        is_released = bool(db.execute(RELEASE, values).rowcount)
        if is_released:
            self.notify(db, lease.request_id)
        return is_released

    def put_back(self, db: Db, request_id: str) -> None:
        """Undo a start, and count it: a drain interrupted the work."""
        db.execute(PUT_BACK, {"id": request_id, "state": check_transition(State.PROCESSING, State.QUEUED)})
        self.notify(db, request_id)

    def requeue(self, db: Db, request_id: str) -> None:
        """Put a request that lost its worker at the end of the queue."""
        db.execute(REQUEUE, {"id": request_id, "state": check_transition(State.PROCESSING, State.QUEUED)})
        self.notify(db, request_id)

    def end_lease(self, db: Db, lease: Lease, new: State, *, size: int = 0, error: bytes | None = None) -> bool:
        """End a request under a lease; returns whether the lease still held."""
        return self.end(
            db,
            lease.request_id,
            State.PROCESSING,
            new,
            token_of(lease),
            fence=lease.fence,
            size=size,
            error=error,
        )

    def end(
        self,
        db: Db,
        request_id: str,
        old: State,
        new: State,
        token: str,
        *,
        fence: int | None = None,
        size: int = 0,
        error: bytes | None = None,
    ) -> bool:
        """End a request.

        Parameters
        ----------
        db
            An open transaction.
        request_id, old, new
            The request, its state, and its final state.
        token
            Identifies this call in the request's row, see `PostgresStore`.
        fence
            Do nothing if the request has another fence by now; None to end it anyway.
        size
            Bytes of its result.
        error
            Its encoded error.

        Returns
        -------
        Whether it was in the state `old`, with this fence.
        """
        now = self.clock.now()
        values = {
            "id": request_id,
            "old": old,
            "new": check_transition(old, new),
            "token": token,
            "fence": fence,
            "size": ROW_BYTES + size + len(error or b""),
            "error": error,
            "now": now,
            "expires": now + self.policy.retention,
        }
        if db.execute(END, values).fetchone() is None:
            return False
        self.notify(db, request_id)
        return True
