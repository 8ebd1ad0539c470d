"""The request store in a PostgreSQL database."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import psycopg

from automask.errors import AutomaskError

from ...config.locations import PostgresUrl
from ...errors import QueueFullError, StoreError, StoreUnavailableError
from ...postgres.database import Database, Db
from ...postgres.notifications import Listener
from ...states import FINAL_STATES, State
from ..clock import Clock
from ..policy import FULL_RETRY_AFTER, StorePolicy
from ..protocol import Store
from ..records import Lease, Record, SweepResult, Usage
from .media import Media
from .payloads import Payload, Payloads
from .recovery import Recovery
from .statements import RECORD, RENEW
from .submissions import Submission, Submissions
from .transitions import Transitions, token_of

__all__ = ["PostgresStore"]

T = TypeVar("T")


class PostgresStore(Store):
    """Keeps requests in a PostgreSQL database, in a schema of its own. Threads and servers may share it.

    READ COMMITTED is enough: every decision about a row is made with the row locked. The leases of a server that dies
    last until they expire.

    A call that ends a request writes a token into its row. If the connection breaks after COMMIT, before the answer,
    `Database.run` repeats the transaction, which then finds the request ended by its own token.

    Parameters
    ----------
    url
        URL of the database; the tables are created if there are none.
    policy
        Limits and retention; the bytes in use are those of tasks and results. Concurrent requests may exceed the
        limits by a few.
    media
        Folder, or URL of an object store, for large tasks and results; None keeps them in the database.
    media_from
        Minimum size, in bytes, of what is stored there.
    clock
        The time; by default the database's, which is the same for all servers.

    Raises
    ------
    StoreError
        The database cannot be reached or used, or its tables have a newer version. Every method raises it. If the
        database is only unreachable, it is also an `UnavailableError`.
    """

    threads = 4

    def __init__(
        self,
        url: PostgresUrl,
        policy: StorePolicy,
        *,
        media: str | None = None,
        media_from: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.lease_seconds = policy.lease_seconds
        self.clock = clock or Clock()
        self._policy = policy
        self._unconfirmed: set[str] = set()
        server_id = uuid.uuid4().hex
        media_storage = None if media is None else Media(media)
        greet = None if clock else self._set_clock
        self._database = Database(url, connections=self.threads, greet=greet)
        self._listener = Listener(url, server_id)
        self._payloads = Payloads(self._database, self.clock, media_storage, media_from)
        self._transitions = Transitions(self.clock, policy, server_id)
        self._recovery = Recovery(self._transitions)
        self._submissions = Submissions(policy, self.clock, self._recovery, self._transitions, lambda: self._used)
        self._used = self._database.run(_size)

    def _set_clock(self, db: Db) -> None:
        row = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        self.clock.set(row[0] if row else 0.0)

    def close(self) -> None:
        self._listener.close()
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
        name = request_id or uuid.uuid4().hex
        new = Submission(name, owner, model, idempotency_key, digest, len(task), deadline, is_large)
        try:
            # A large task is written outside the database first: not if there is no need or no room for it.
            if self._payloads.is_large(task):
                known = self._database.run(lambda db: self._find_any(db, self._submissions.find_or_check_room, new))
                if known is not None:
                    return known
            payload = self._payloads.put(task)
            record = self._database.run(
                lambda db: self._find(db, self._submissions.find_or_insert(db, new, payload), owner)
            )
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.errors.DiskFull):
                raise QueueFullError(f"no room for another request: {error}", retry_after=FULL_RETRY_AFTER) from error
            raise
        self._used += len(task)
        return record

    def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        new = Submission("", owner, model, idempotency_key, self._policy.digest(model, task), len(task))
        return self._database.run(lambda db: self._find_any(db, self._submissions.find, new))

    def _find_any(self, db: Db, find: Callable[[Db, Submission], str | None], new: Submission) -> Record | None:
        known = find(db, new)
        return None if known is None else self._find(db, known, new.owner)

    def get(self, request_id: str, owner: str) -> Record:
        return self._database.run(lambda db: self._find(db, request_id, owner))

    def result(self, request_id: str, owner: str) -> Record:
        def read(db: Db) -> tuple[Record, Payload | None]:
            record = self._find(db, request_id, owner)
            return record, db.execute("SELECT data, object FROM results WHERE id = %s", [request_id]).fetchone()

        record, payload = self._database.run(read)
        return record if payload is None else replace(record, result=self._payloads.get(payload))

    def _find(self, db: Db, request_id: str, owner: str) -> Record:
        values = {"id": request_id, "owner": owner, "now": self.clock.now()}
        # PostgreSQL refuses a text with NUL, also in a query.
        row = None if "\0" in request_id else db.execute(RECORD, values).fetchone()
        if row is None:
            raise self._policy.not_found(request_id)
        return Record.from_row(row)

    def cancel(self, request_id: str, owner: str) -> tuple[Record, bool]:
        token = uuid.uuid4().hex

        def cancel(db: Db) -> bool:
            self._find(db, request_id, owner)
            row = db.execute("SELECT state FROM requests WHERE id = %s FOR UPDATE", [request_id]).fetchone()
            if row is None or (state := State(row[0])) in FINAL_STATES:
                return False
            return self._transitions.end(db, request_id, state, State.CANCELLED, token)

        is_new = self._end_once(token, request_id, cancel)
        return self.get(request_id, owner), is_new

    def lease(self, *, only_small: bool = False) -> Lease | None:
        row = self._database.run(lambda db: self._transitions.start(db, only_small=only_small))
        if row is None:
            return None
        return self._with_task(Lease(*(*row[:8], b"", row[8])), row[9:])

    def _with_task(self, lease: Lease, payload: Payload) -> Lease:
        try:
            return replace(lease, task=self._payloads.get(payload))
        except StoreUnavailableError:
            self.release(lease)
            raise
        except StoreError as error:
            return replace(lease, problem=StoreError(f"request {lease.request_id} cannot be worked on: {error}"))

    def renew(self, leases: Iterable[Lease]) -> set[str]:
        held = list(leases)
        values = {"ids": [lease.request_id for lease in held], "fences": [lease.fence for lease in held]}

        def renew(db: Db) -> set[str]:
            rows = db.execute(RENEW, {**values, "until": self.clock.now() + self.lease_seconds})
            return {request_id for (request_id,) in rows}

        return self._database.run(renew)

    def complete(self, lease: Lease, result: bytes) -> bool:
        payload = self._payloads.put(result)

        def complete(db: Db) -> bool:
            if not self._transitions.end_lease(db, lease, State.COMPLETED, size=len(result)):
                return False
            self._payloads.use(db, "results", lease.request_id, payload)
            return True

        is_written = self._end_once(token_of(lease), lease.request_id, complete)
        self._used += len(result) - len(lease.task)
        return is_written

    def fail(self, lease: Lease, error: AutomaskError) -> bool:
        encoded = self._policy.encode_error(error)
        return self._end_once(
            token_of(lease),
            lease.request_id,
            lambda db: self._transitions.end_lease(db, lease, State.FAILED, error=encoded),
        )

    def release(self, lease: Lease, *, is_large: bool = False) -> bool:
        return self._database.run(lambda db: self._transitions.release(db, lease, is_large=is_large))

    def put_back(self, lease: Lease) -> State | None:
        return self._database.run(lambda db: self._recovery.put_back_held(db, lease))

    def _end_once(self, token: str, request_id: str, end: Callable[[Db], bool]) -> bool:
        """End a request; return True also if an earlier attempt of this call ended it and its answer was lost."""

        def work(db: Db) -> bool:
            if end(db):
                self._unconfirmed.add(token)
                return True
            return token in self._unconfirmed and bool(
                db.execute("SELECT 1 FROM requests WHERE id = %s AND ended_by = %s", (request_id, token)).fetchone()
            )

        is_ended = self._database.run(work)
        self._unconfirmed.discard(token)
        return is_ended

    def sweep(self) -> SweepResult:
        late = self._database.run(self._recovery.fail_late)
        requeued, given_up = self._database.run(self._recovery.requeue_lost)
        expired: list[str] = []
        while batch := self._database.run(self._recovery.delete_expired):
            expired += batch
        self._payloads.collect()
        self._used = self._database.run(_size)
        return SweepResult(late, tuple(requeued), given_up, tuple(expired))

    def usage(self) -> Usage:
        def count(db: Db) -> Usage:
            self._used = _size(db)
            rows = db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall()
            return Usage.from_rows(rows, self._used)

        return self._database.run(count)

    def listen(self, timeout: float) -> frozenset[str] | None:
        try:
            return self._listener.listen(timeout)
        except psycopg.Error as error:
            raise self._database.explain(error) from error

    def stop_listening(self) -> None:
        self._listener.stop_listening()


def _size(db: Db) -> int:
    row = db.execute("SELECT coalesce(sum(size), 0) FROM requests").fetchone()
    return int(row[0]) if row else 0
