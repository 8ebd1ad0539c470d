"""The request store: what was accepted is on disk, is worked on by one at a time, and reaches an end."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from automask.errors import AutomaskError, ParameterError

from ..errors import NotFoundError, QueueFullError, StoreError
from . import moves
from .clock import Clock
from .database import Database
from .records import Lease, Record, Swept, Usage
from .recovery import Recovery
from .states import ENDS, State
from .storefile import is_full

__all__ = ["Store"]

_LOG = logging.getLogger(__name__)
_SPARE_BYTES: Final = 64 << 20  # of the disk, left for the results of what was accepted …
_SPARE_SHARE: Final = 4  # … or, on a small disk, one part in so many
_SOON: Final = 1.0  # seconds: a request may end any moment
_LATER: Final = 30.0  # seconds: room comes back only as results expire

_RECORD: Final = """
SELECT id, owner, model, state, CASE state WHEN 'QUEUED' THEN (
    SELECT count(*) FROM requests AS before WHERE before.state = 'QUEUED' AND before.position < requests.position
) END, attempts, created, started, ended, expires, error, NULL FROM requests
"""


class Store:
    """Keeps requests in an SQLite file. Safe to share between threads; several processes may open one file.

    Parameters
    ----------
    path
        The file, made if there is none; a file ``<path>.lock`` lies beside it. A damaged one is put aside.
    retention
        Seconds for which a request is kept after its end.
    max_bytes
        Disk that may be in use, SQLite's log included, for a new request to be accepted.
    max_queue
        Requests that may wait.
    max_attempts
        How often work on a request may begin.
    lease_seconds
        How long a request stays with a worker that does not renew its lease.
    encode_error
        Puts an error into the bytes that `Record.error` holds.
    clock
        The time.

    Attributes
    ----------
    clock
        The time that deadlines count by.
    lease_seconds
        As given; renew in less.

    Raises
    ------
    StoreError
        The file cannot be opened, is no store, or is of a newer version. Every method raises it too, where the file
        is damaged, the disk is full, or the store was closed.
    """

    def __init__(
        self,
        path: Path,
        *,
        encode_error: Callable[[AutomaskError], bytes],
        retention: float = 3600.0,
        max_bytes: int = 4 << 30,
        max_queue: int = 256,
        max_attempts: int = 3,
        lease_seconds: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self._max_bytes = max_bytes
        self._max_queue = max_queue
        self.lease_seconds = lease_seconds
        self._recovery = Recovery(self.clock, retention, max_attempts, encode_error)
        self._database = Database(path)
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_up(self) -> None:
        """Go on where the last server stopped."""
        with self._database.transaction() as db:
            if self._database.alone:
                self._recovery.mend_times(db)
                requeued, given_up = self._recovery.take_back_all(db)
                if requeued or given_up:
                    _LOG.warning(
                        "the last server died over %d requests: %d queued again, %d given up",
                        len(requeued) + len(given_up),
                        len(requeued),
                        len(given_up),
                    )
            else:
                # Where the system has no file locks, leases of before a restart of the machine would last for days.
                db.execute(
                    "UPDATE requests SET lease_until = ?1 WHERE lease_until > ?1",
                    (self.clock.uptime() + self.lease_seconds,),
                )
        self._database.share()

    def close(self) -> None:
        """Close the file; what is in work stays so until its lease runs out or the store is opened again."""
        self._database.close()

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
        digest = _digest(model, task)
        try:
            with self._database.transaction() as db:
                known = self._known(db, owner, idempotency_key, digest) if idempotency_key else None
                if known is not None:
                    return self._find(db, known, owner)
                self._check_room(db, len(task))
                request_id = request_id or uuid.uuid4().hex
                now = self.clock.now()
                db.execute(
                    "INSERT INTO requests (id, owner, model, state, position, idempotency_key, digest, created, "
                    "deadline) VALUES (?, ?, ?, ?, (SELECT coalesce(max(position), 0) + 1 FROM requests), ?, ?, ?, "
                    "?)",
                    (
                        request_id,
                        owner,
                        model,
                        State.QUEUED,
                        idempotency_key or None,
                        digest,
                        now,
                        None if deadline is None else now + deadline,
                    ),
                )
                db.execute("INSERT INTO tasks VALUES (?, ?)", (request_id, task))
                return self._find(db, request_id, owner)
        except StoreError as error:
            if is_full(error.__cause__):
                raise QueueFullError(f"no room for another request: {error}", retry_after=_LATER) from error
            raise

    def known(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        """Find the request that `add` would give instead of a new one; takes and raises the same."""
        with self._database.transaction() as db:
            known = self._known(db, owner, idempotency_key, _digest(model, task)) if idempotency_key else None
            return None if known is None else self._find(db, known, owner)

    def _known(self, db: sqlite3.Connection, owner: str, key: str, digest: bytes) -> str | None:
        db.execute(
            "DELETE FROM requests WHERE owner = ? AND idempotency_key = ? AND expires <= ?",
            (owner, key, self.clock.now()),
        )
        row = db.execute(
            "SELECT id, digest FROM requests WHERE owner = ? AND idempotency_key = ?", (owner, key)
        ).fetchone()
        if row is None:
            return None
        if row[1] != digest:
            raise ParameterError("idempotency_key", "be new, or come with the task that it was first used with", key)
        return str(row[0])

    def _check_room(self, db: sqlite3.Connection, wanted: int) -> None:
        waiting = db.execute("SELECT count(*) FROM requests WHERE state = ?", (State.QUEUED,)).fetchone()[0]
        if waiting >= self._max_queue:
            raise QueueFullError(f"{waiting} requests wait already, which is the most", retry_after=_SOON)
        used = self._database.size(db)
        if used + wanted > self._max_bytes:
            raise QueueFullError(
                f"no room for {wanted:,} bytes more: the store uses {used:,} of at most {self._max_bytes:,}",
                retry_after=_LATER,
            )
        total, free = self._database.disk(db)
        spare = min(_SPARE_BYTES, total // _SPARE_SHARE)
        if free < spare + 2 * wanted:  # once in SQLite's log, once in its file
            raise QueueFullError(
                f"no room for {wanted:,} bytes more: {free:,} are left on the store's disk, of which {spare:,} "
                "are kept for results",
                retry_after=_LATER,
            )

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
        with self._database.transaction("DEFERRED") as db:
            return self._find(db, request_id, owner)

    def result(self, request_id: str, owner: str) -> Record:
        """Tell the same as `get`, with the result of what is COMPLETED."""
        with self._database.transaction("DEFERRED") as db:
            record = self._find(db, request_id, owner)
            row = db.execute("SELECT result FROM results WHERE id = ?", (request_id,)).fetchone()
            return replace(record, result=row[0]) if row else record

    def cancel(self, request_id: str, owner: str) -> Record:
        """End a request that has not ended; takes, gives and raises the same as `get`."""
        with self._database.transaction() as db:
            record = self._find(db, request_id, owner)
            if record.state in ENDS:
                return record
            self._end(db, request_id, record.state, State.CANCELLED)
            return self._find(db, request_id, owner)

    def _find(self, db: sqlite3.Connection, request_id: str, owner: str) -> Record:
        row = db.execute(
            _RECORD + "WHERE id = ? AND owner = ? AND (expires IS NULL OR expires > ?)",
            (request_id, owner, self.clock.now()),
        ).fetchone()
        if row is None:
            raise NotFoundError(
                f"no request {request_id!r}: a request is kept for {self._recovery.retention:g} s after its end, for "
                "the key that it was submitted with"
            )
        return Record(*(*row[:3], State(row[3]), *row[4:]))

    def lease(self) -> Lease | None:
        """Take the head of the queue to work on it: attempts and fence grow by one.

        Returns
        -------
        The request, or None if nothing waits. What is past its deadline is left to `sweep`.
        """
        with self._database.transaction() as db:
            now = self.clock.now()
            row = db.execute(
                "SELECT id, owner, model, attempts + 1, created, ?1, deadline, fence + 1, task "
                "FROM requests JOIN tasks USING (id) WHERE state = ?2 AND (deadline IS NULL OR deadline > ?1) "
                "ORDER BY position LIMIT 1",
                (now, State.QUEUED),
            ).fetchone()
            if row is None:
                return None
            moves.start(db, row[0], now=now, lease_until=self.clock.uptime() + self.lease_seconds)
            return Lease(*row)

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
        with self._database.transaction() as db:
            held = {lease.request_id for lease in leases if self._holds(db, lease)}
            until = self.clock.uptime() + self.lease_seconds
            db.executemany("UPDATE requests SET lease_until = ? WHERE id = ?", [(until, one) for one in held])
            return held

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
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            self._end(db, lease.request_id, State.PROCESSING, State.COMPLETED)
            db.execute("INSERT INTO results VALUES (?, ?)", (lease.request_id, result))
            return True

    def fail(self, lease: Lease, error: AutomaskError) -> bool:
        """End a request with an error; otherwise as `complete`."""
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            self._recovery.fail(db, lease.request_id, State.PROCESSING, error)
            return True

    def release(self, lease: Lease) -> bool:
        """Put a request back to the head of the queue, the attempt not counted; returns the same as `complete`."""
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            moves.give_back(db, lease.request_id)
            return True

    def _holds(self, db: sqlite3.Connection, lease: Lease) -> bool:
        return bool(
            db.execute(
                "SELECT 1 FROM requests WHERE id = ? AND state = ? AND fence = ?",
                (lease.request_id, State.PROCESSING, lease.fence),
            ).fetchone()
        )

    def _end(self, db: sqlite3.Connection, request_id: str, old: State, new: State) -> None:
        moves.end(db, request_id, old, new, now=self.clock.now(), retention=self._recovery.retention)

    def sweep(self) -> Swept:
        """Do what time has made due: fail what is late, take back what was lost, delete what has expired.

        Returns
        -------
        The ids that changed.
        """
        with self._database.transaction() as db:
            late = self._recovery.fail_late(db)
            requeued, given_up = self._recovery.take_back_lost(db)
        expired: list[str] = []
        while batch := self._delete_expired():
            expired += batch
        self._database.tidy()
        return Swept(late, tuple(requeued), given_up, tuple(expired))

    def _delete_expired(self) -> list[str]:
        with self._database.transaction() as db:
            return self._recovery.delete_expired(db)

    def usage(self) -> Usage:
        """Tell how full the store is."""
        with self._database.transaction("DEFERRED") as db:
            counts = dict(db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall())
            return Usage({state: counts.get(state, 0) for state in State}, self._database.size(db))

    def version(self) -> int:
        """Return a number that changes when another process, or another `Store`, has written something."""
        return self._database.version()


def _digest(model: str, task: bytes) -> bytes:
    return hashlib.sha256(model.encode() + b"\0" + task).digest()
