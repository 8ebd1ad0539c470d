"""All changes of a request's state: inside a transaction, and as the table of states allows."""

from __future__ import annotations

import sqlite3

from ...states import State, check_transition

__all__ = ["end", "put_back", "release", "requeue", "start"]


def start(db: sqlite3.Connection, request_id: str, *, now: float, lease_until: float) -> None:
    """Lease a queued request. The fence grows, so that an earlier worker cannot end it any more."""
    db.execute(
        "UPDATE requests SET state = ?, attempts = attempts + 1, fence = fence + 1, started = ?, lease_until = ? "
        "WHERE id = ?",
        (check_transition(State.QUEUED, State.PROCESSING), now, lease_until, request_id),
    )


def requeue(db: sqlite3.Connection, request_id: str) -> None:
    """Put a request that lost its worker at the end of the queue: if the request is the cause, others come first."""
    db.execute(
        "UPDATE requests SET state = ?, lease_until = NULL, position = (SELECT max(position) + 1 FROM requests) "
        "WHERE id = ?",
        (check_transition(State.PROCESSING, State.QUEUED), request_id),
    )


def release(db: sqlite3.Connection, request_id: str, *, is_large: bool = False) -> None:
    """Undo a start. The request still has its position, which is before those queued later."""
    db.execute(
        "UPDATE requests SET state = ?, lease_until = NULL, attempts = attempts - 1, is_large = is_large OR ? "
        "WHERE id = ?",
        (check_transition(State.PROCESSING, State.QUEUED), is_large, request_id),
    )


def put_back(db: sqlite3.Connection, request_id: str) -> None:
    """Undo a start, and count it: a drain interrupted the work."""
    release(db, request_id)
    db.execute("UPDATE requests SET put_backs = put_backs + 1 WHERE id = ?", (request_id,))


def end(
    db: sqlite3.Connection,
    request_id: str,
    old: State,
    new: State,
    *,
    now: float,
    retention: float,
    error: bytes | None = None,
) -> None:
    """End a request, and delete its photo at once: it is private, and large."""
    db.execute(
        "UPDATE requests SET state = ?, lease_until = NULL, ended = ?, expires = ?, error = ? WHERE id = ?",
        (check_transition(old, new), now, now + retention, error, request_id),
    )
    db.execute("DELETE FROM tasks WHERE id = ?", (request_id,))
