"""The request store: what was accepted is on disk, is worked on by one at a time, and reaches an end."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from automask.errors import AutomaskError

from ...errors import QueueFullError, StoreError
from ...states import ENDS, State
from ..clock import Clock
from ..policy import FULL_RETRY_AFTER, StorePolicy
from ..protocol import Store
from ..records import Lease, Record, SweepResult, Usage
from . import transitions
from .database import Database
from .file import is_full
from .recovery import Recovery

__all__ = ["SqliteStore"]

_LOG = logging.getLogger(__name__)
_SPARE_BYTES: Final = 64 << 20  # of the disk, left for the results of what was accepted …
_SPARE_SHARE: Final = 4  # … or, on a small disk, one part in so many
_LOOK: Final = 0.25  # seconds after which another's changes to the file are seen

_RECORD: Final = """
SELECT id, owner, model, state, CASE state WHEN 'QUEUED' THEN (
    SELECT count(*) FROM requests AS before WHERE before.state = 'QUEUED' AND before.position < requests.position
) END, attempts, created, started, ended, expires, error, NULL FROM requests
"""


class SqliteStore(Store):
    """Keeps requests in an SQLite file. Safe to share between threads; several processes may open one file.

    Parameters
    ----------
    path
        The file, made if there is none; a file ``<path>.lock`` lies beside it. A damaged one is put aside.
    policy
        How much and how long; the room counts SQLite's log too.
    clock
        The time.

    Raises
    ------
    StoreError
        The file cannot be opened, is no store, or is of a newer version. Every method raises it too, where the file
        is damaged, the disk is full, or the store was closed.
    """

    threads = 1

    def __init__(self, path: Path, policy: StorePolicy, *, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.lease_seconds = policy.lease_seconds
        self._policy = policy
        self._recovery = Recovery(self.clock, policy)
        self._seen = -1
        self._deaf = Event()
        self._database = Database(path)
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

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
        digest = self._policy.digest(model, task)
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
                raise QueueFullError(f"no room for another request: {error}", retry_after=FULL_RETRY_AFTER) from error
            raise

    def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        with self._database.transaction() as db:
            digest = self._policy.digest(model, task)
            known = self._known(db, owner, idempotency_key, digest) if idempotency_key else None
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
        self._policy.check_same(key, digest, row[1])
        return str(row[0])

    def _check_room(self, db: sqlite3.Connection, wanted: int) -> None:
        waiting = db.execute("SELECT count(*) FROM requests WHERE state = ?", (State.QUEUED,)).fetchone()[0]
        self._policy.check_room(waiting=waiting, used=self._database.size(db), wanted=wanted)
        total, free = self._database.disk(db)
        spare = min(_SPARE_BYTES, total // _SPARE_SHARE)
        if free < spare + 2 * wanted:  # once in SQLite's log, once in its file
            raise QueueFullError(
                f"no room for {wanted:,} bytes more: {free:,} are left on the store's disk, of which {spare:,} "
                "are kept for results",
                retry_after=FULL_RETRY_AFTER,
            )

    def get(self, request_id: str, owner: str) -> Record:
        with self._database.transaction("DEFERRED") as db:
            return self._find(db, request_id, owner)

    def result(self, request_id: str, owner: str) -> Record:
        with self._database.transaction("DEFERRED") as db:
            record = self._find(db, request_id, owner)
            row = db.execute("SELECT result FROM results WHERE id = ?", (request_id,)).fetchone()
            return replace(record, result=row[0]) if row else record

    def cancel(self, request_id: str, owner: str) -> tuple[Record, bool]:
        with self._database.transaction() as db:
            record = self._find(db, request_id, owner)
            if record.state in ENDS:
                return record, False
            self._end(db, request_id, record.state, State.CANCELLED)
            return self._find(db, request_id, owner), True

    def _find(self, db: sqlite3.Connection, request_id: str, owner: str) -> Record:
        row = db.execute(
            _RECORD + "WHERE id = ? AND owner = ? AND (expires IS NULL OR expires > ?)",
            (request_id, owner, self.clock.now()),
        ).fetchone()
        if row is None:
            raise self._policy.unknown(request_id)
        return Record(*(*row[:3], State(row[3]), *row[4:]))

    def lease(self) -> Lease | None:
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
            transitions.start(db, row[0], now=now, lease_until=self.clock.uptime() + self.lease_seconds)
            return Lease(*row)

    def renew(self, leases: Iterable[Lease]) -> set[str]:
        with self._database.transaction() as db:
            held = {lease.request_id for lease in leases if self._holds(db, lease)}
            until = self.clock.uptime() + self.lease_seconds
            db.executemany("UPDATE requests SET lease_until = ? WHERE id = ?", [(until, one) for one in held])
            return held

    def complete(self, lease: Lease, result: bytes) -> bool:
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            self._end(db, lease.request_id, State.PROCESSING, State.COMPLETED)
            db.execute("INSERT INTO results VALUES (?, ?)", (lease.request_id, result))
            return True

    def fail(self, lease: Lease, error: AutomaskError) -> bool:
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            self._recovery.fail(db, lease.request_id, State.PROCESSING, self._policy.encode_error(error))
            return True

    def release(self, lease: Lease) -> bool:
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            transitions.give_back(db, lease.request_id)
            return True

    def _holds(self, db: sqlite3.Connection, lease: Lease) -> bool:
        return bool(
            db.execute(
                "SELECT 1 FROM requests WHERE id = ? AND state = ? AND fence = ?",
                (lease.request_id, State.PROCESSING, lease.fence),
            ).fetchone()
        )

    def _end(self, db: sqlite3.Connection, request_id: str, old: State, new: State) -> None:
        transitions.end(db, request_id, old, new, now=self.clock.now(), retention=self._policy.retention)

    def sweep(self) -> SweepResult:
        with self._database.transaction() as db:
            late = self._recovery.fail_late(db)
            requeued, given_up = self._recovery.take_back_lost(db)
        expired: list[str] = []
        while batch := self._delete_expired():
            expired += batch
        self._database.tidy()
        return SweepResult(late, tuple(requeued), given_up, tuple(expired))

    def _delete_expired(self) -> list[str]:
        with self._database.transaction() as db:
            return self._recovery.delete_expired(db)

    def usage(self) -> Usage:
        with self._database.transaction("DEFERRED") as db:
            counts = dict(db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall())
            return Usage({state: counts.get(state, 0) for state in State}, self._database.size(db))

    def listen(self, timeout: float) -> frozenset[str] | None:
        end = monotonic() + timeout
        while (version := self._database.version()) == self._seen:
            left = end - monotonic()
            if left <= 0 or self._deaf.wait(min(_LOOK, left)):
                return frozenset()
        self._seen = version
        return None

    def stop_listening(self) -> None:
        self._deaf.set()
