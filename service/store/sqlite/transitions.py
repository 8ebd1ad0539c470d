"""Every change of a request's state in the store: each inside a transaction, and as the table of states allows."""

from __future__ import annotations

import sqlite3

from ...states import State, move

__all__ = ["end", "give_back", "requeue", "start"]


def start(db: sqlite3.Connection, request_id: str, *, now: float, lease_until: float) -> None:
    """Give a queued request out; the fence grows, so that whoever had it before cannot end it any more."""
    db.execute(
        "UPDATE requests SET state = ?, attempts = attempts + 1, fence = fence + 1, started = ?, lease_until = ? "
        "WHERE id = ?",
        (move(State.QUEUED, State.PROCESSING), now, lease_until, request_id),
    )


def requeue(db: sqlite3.Connection, request_id: str) -> None:
    """Put one whose worker was lost to the end of the queue: where it is to blame, the others come first."""
    db.execute(
        "UPDATE requests SET state = ?, lease_until = NULL, position = (SELECT max(position) + 1 FROM requests) "
        "WHERE id = ?",
        (move(State.PROCESSING, State.QUEUED), request_id),
    )


def give_back(db: sqlite3.Connection, request_id: str) -> None:
    """Undo a start: the request has kept its place, which is before all that wait."""
    db.execute(
        "UPDATE requests SET state = ?, lease_until = NULL, attempts = attempts - 1 WHERE id = ?",
        (move(State.PROCESSING, State.QUEUED), request_id),
    )


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
    """End a request, and drop its photo at once: it is private, and large."""
    db.execute(
        "UPDATE requests SET state = ?, lease_until = NULL, ended = ?, expires = ?, error = ? WHERE id = ?",
        (move(old, new), now, now + retention, error, request_id),
    )
    db.execute("DELETE FROM tasks WHERE id = ?", (request_id,))
