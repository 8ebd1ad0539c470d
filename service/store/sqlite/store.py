"""The request store in an SQLite file."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from automask.errors import AutomaskError

from ...errors import QueueFullError, StoreError
from ...states import FINAL_STATES, State
from ..clock import Clock
from ..policy import FULL_RETRY_AFTER, StorePolicy
from ..protocol import Store
from ..records import SELECT_RECORD, Lease, Record, SweepResult, Usage
from . import transitions
from .database import Database
from .file import is_full
from .recovery import Recovery
from .submissions import Submissions

__all__ = ["SqliteStore"]

_LOG = logging.getLogger(__name__)
_POLL: Final = 0.25  # seconds between looks for changes by other processes
_LEASE: Final = """
SELECT id, owner, model, attempts + 1, created, ?1, deadline, fence + 1, task, is_large
FROM requests JOIN tasks USING (id) WHERE id = (
    SELECT id FROM requests JOIN tasks USING (id)
    WHERE state = ?2 AND (deadline IS NULL OR deadline > ?1) AND is_large <= ?3
    ORDER BY position LIMIT 1
)
"""
# The owner with the fewest requests in work is first.
_LEASE_FAIR: Final = _LEASE.replace(
    "ORDER BY",
    "ORDER BY (SELECT count(*) FROM requests AS busy WHERE busy.state = 'PROCESSING' AND busy.owner = requests.owner),",
)


class SqliteStore(Store):
    """Keeps requests in an SQLite file. Threads may share it; several processes may open one file.

    Parameters
    ----------
    path
        The file, created if there is none; a file ``<path>.lock`` lies beside it. A damaged file is renamed.
    policy
        Limits and retention; the bytes in use include SQLite's log.
    clock
        The time.

    Raises
    ------
    StoreError
        The file cannot be opened, is not a store, or has a newer version. Every method raises it if the file is
        damaged, the disk is full, or the store is closed; and a `StoreUnavailableError` if the file was deleted, moved
        or replaced.
    """

    threads = 1

    def __init__(self, path: Path, policy: StorePolicy, *, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.lease_seconds = policy.lease_seconds
        self._policy = policy
        self._recovery = Recovery(self.clock, policy)
        self._version = -1
        self._stopped = Event()
        self._database = Database(path)
        self._submissions = Submissions(self._database, self.clock, policy)
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def _recover(self) -> None:
        """Recover the requests that the last server worked on."""
        with self._database.transaction() as db:
            if self._database.alone:
                self._recovery.correct_times(db)
                requeued, given_up = self._recovery.requeue_all(db)
                if requeued or given_up:
                    _LOG.warning(
                        "the last server died while working on %d requests: %d queued again, %d given up",
                        len(requeued) + len(given_up),
                        len(requeued),
                        len(given_up),
                    )
            else:
                # On systems without file locks, leases from before a restart of the machine would last for days.
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
        is_large: bool = False,
    ) -> Record:
        digest = self._policy.digest(model, task)
        try:
            with self._database.transaction() as db:
                added = self._submissions.find(db, owner, idempotency_key, digest) or self._submissions.insert(
                    db,
                    task,
                    owner=owner,
                    model=model,
                    request_id=request_id,
                    key=idempotency_key,
                    digest=digest,
                    deadline=deadline,
                    is_large=is_large,
                )
                return self._find(db, added, owner)
        except StoreError as error:
            if is_full(error.__cause__):
                raise QueueFullError(f"no room for another request: {error}", retry_after=FULL_RETRY_AFTER) from error
            raise

    def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        digest = self._policy.digest(model, task)
        with self._database.transaction() as db:
            known = self._submissions.find(db, owner, idempotency_key, digest)
            return None if known is None else self._find(db, known, owner)

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
            if record.state in FINAL_STATES:
                return record, False
            self._end(db, request_id, record.state, State.CANCELLED)
            return self._find(db, request_id, owner), True

    def _find(self, db: sqlite3.Connection, request_id: str, owner: str) -> Record:
        row = db.execute(
            SELECT_RECORD + "WHERE id = ? AND owner = ? AND (expires IS NULL OR expires > ?)",
            (request_id, owner, self.clock.now()),
        ).fetchone()
        if row is None:
            raise self._policy.not_found(request_id)
        return Record.from_row(row)

    def lease(self, *, only_small: bool = False) -> Lease | None:
        with self._database.transaction() as db:
            now = self.clock.now()
            statement = _LEASE_FAIR if self._policy.is_fair else _LEASE
            row = db.execute(statement, (now, State.QUEUED, not only_small)).fetchone()
            if row is None:
                return None
            transitions.start(db, row[0], now=now, lease_until=self.clock.uptime() + self.lease_seconds)
            return Lease(*(*row[:-1], bool(row[-1])))

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

    def release(self, lease: Lease, *, is_large: bool = False) -> bool:
        with self._database.transaction() as db:
            if not self._holds(db, lease):
                return False
            transitions.release(db, lease.request_id, is_large=is_large)
            return True

    def put_back(self, lease: Lease) -> State | None:
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT id, owner, attempts, put_backs FROM requests WHERE id = ? AND state = ? AND fence = ?",
                (lease.request_id, State.PROCESSING, lease.fence),
            ).fetchone()
            return self._recovery.put_back_or_fail(db, *row) if row else None

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
            requeued, given_up = self._recovery.requeue_lost(db)
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
            rows = db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall()
            return Usage.from_rows(rows, self._database.size(db))

    def listen(self, timeout: float) -> frozenset[str] | None:
        end = monotonic() + timeout
        while (version := self._database.version()) == self._version:
            left = end - monotonic()
            if left <= 0 or self._stopped.wait(min(_POLL, left)):
                return frozenset()
        self._version = version
        return None

    def stop_listening(self) -> None:
        self._stopped.set()
