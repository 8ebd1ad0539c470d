"""Submission of requests in SQLite: idempotency keys, room, and the new row. All inside a transaction."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Final

from ...errors import QueueFullError
from ...states import State
from ..clock import Clock
from ..policy import FULL_RETRY_AFTER, StorePolicy
from .database import Database

__all__ = ["Submissions"]

_SPARE_BYTES: Final = 64 << 20  # of the disk, reserved for the results of accepted requests …
_SPARE_SHARE: Final = 4  # … or, on a small disk, this fraction of it: one fourth
_INSERT: Final = """
INSERT INTO requests (id, owner, model, state, position, idempotency_key, digest, created, deadline, is_large)
VALUES (?, ?, ?, ?, (SELECT coalesce(max(position), 0) + 1 FROM requests), ?, ?, ?, ?, ?)
"""


class Submissions:
    """Finds, checks and adds requests.

    Parameters
    ----------
    database
        The open file.
    clock
        The time.
    policy
        Limits.
    """

    def __init__(self, database: Database, clock: Clock, policy: StorePolicy) -> None:
        self._database, self._clock, self._policy = database, clock, policy

    def find(self, db: sqlite3.Connection, owner: str, key: str, digest: bytes) -> str | None:
        """Return the id of the request with this idempotency key, None if there is none or the key is empty.

        Raises
        ------
        ParameterError
            The key was used with another task.
        """
        if not key:
            return None
        # The sweep may not have deleted it yet.
        db.execute(
            "DELETE FROM requests WHERE owner = ? AND idempotency_key = ? AND expires <= ?",
            (owner, key, self._clock.now()),
        )
        row = db.execute(
            "SELECT id, digest FROM requests WHERE owner = ? AND idempotency_key = ?", (owner, key)
        ).fetchone()
        if row is None:
            return None
        self._policy.check_same_task(key, digest, row[1])
        return str(row[0])

    def insert(
        self,
        db: sqlite3.Connection,
        task: bytes,
        *,
        owner: str,
        model: str,
        request_id: str | None,
        key: str,
        digest: bytes,
        deadline: float | None,
        is_large: bool,
    ) -> str:
        """Add a request and return its id; the parameters are those of `Store.add`.

        Raises
        ------
        QueueFullError
            The queue, the store or the disk is full.
        """
        self._check_room(db, owner, len(task))
        request_id = request_id or uuid.uuid4().hex
        now = self._clock.now()
        until = None if deadline is None else now + deadline
        db.execute(_INSERT, (request_id, owner, model, State.QUEUED, key or None, digest, now, until, is_large))
        db.execute("INSERT INTO tasks VALUES (?, ?)", (request_id, task))
        return request_id

    def _check_room(self, db: sqlite3.Connection, owner: str, wanted: int) -> None:
        waiting, own = db.execute(
            "SELECT count(*), count(*) FILTER (WHERE owner = ?) FROM requests WHERE state = ?", (owner, State.QUEUED)
        ).fetchone()
        self._policy.check_room(waiting=waiting, own=own, used=self._database.size(db), wanted=wanted)
        total, free = self._database.disk(db)
        spare = min(_SPARE_BYTES, total // _SPARE_SHARE)
        if free < spare + 2 * wanted:  # once in SQLite's log, once in its file
            raise QueueFullError(
                f"the disk is full: no room for {wanted:,} bytes, {free:,} are free, of which {spare:,} are reserved "
                "for results",
                retry_after=FULL_RETRY_AFTER,
            )
