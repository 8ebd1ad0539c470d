"""The request store in a PostgreSQL database, for servers on any number of machines."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

import psycopg

from automask.errors import AutomaskError

from ...config.locations import PostgresUrl
from ...errors import QueueFullError, StoreError
from ...postgres.database import Database, Db, StoreUnavailableError
from ...postgres.notifications import CHANNEL, Listener
from ...states import ENDS, State, move
from ..clock import Clock
from ..policy import FULL_RETRY_AFTER, StorePolicy
from ..protocol import Store
from ..records import Lease, Record, SweepResult, Usage
from .media import Media
from .payloads import Payload, Payloads
from .statements import END, FORGET, INSERT, LATE, LEASE, LOST, RECORD, RELEASE, RENEW, REQUEUE

__all__ = ["PostgresStore"]

T = TypeVar("T")

_ROW: Final = 1000  # bytes, about what a request takes besides its task and its result
_BATCH: Final = 1000  # requests deleted in one transaction


class PostgresStore(Store):
    """Keeps requests in a PostgreSQL database, in a schema of its own. Safe to share between threads.

    All is right under READ COMMITTED: a row is locked before anything is decided about it. A server that dies keeps
    what it works on until its leases run out.

    Parameters
    ----------
    url
        Where it is; the tables are made if there are none.
    policy
        How much and how long; the room counts tasks and results. Of several requests that come at the same instant, a
        few more than the rules allow may be taken.
    media
        Folder or URL for large tasks and results; None keeps them in the database.
    media_from
        Bytes from which on they are large.
    clock
        The time; by default the database's, which all servers share, wherever they are.

    Raises
    ------
    StoreError
        The database cannot be reached or used, or its tables are of a newer version. Where it is only away,
        `UnavailableError` too; every method raises it then.
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
        self._me = uuid.uuid4().hex
        self._unsure: set[str] = set()
        place = None if media is None else Media(media)
        self._database = Database(url, connections=self.threads, greet=_nothing if clock else self._set_clock)
        self._listener = Listener(url, self._me)
        self._payloads = Payloads(self._database, self.clock, place, media_from)
        self._used = self._database.run(_size)

    def _set_clock(self, db: Db) -> None:
        row = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        self.clock.set(row[0] if row else 0.0)

    def close(self) -> None:
        self._listener.close()
        self._database.close()

    def _tell(self, db: Db, request_id: str) -> None:
        """Let other servers know, once the transaction is done."""
        db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{self._me} {request_id}"))

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
        name, digest = request_id or uuid.uuid4().hex, self._policy.digest(model, task)

        def known_or_room(db: Db) -> Record | None:
            known = self._known(db, owner, idempotency_key, digest, name)
            if known is None:
                row = db.execute("SELECT count(*) FROM requests WHERE state = 'QUEUED'").fetchone()
                self._policy.check_room(waiting=row[0] if row else 0, used=self._used, wanted=len(task))
            return known

        def add(db: Db, payload: Payload) -> Record:
            if (known := known_or_room(db)) is not None:
                return known
            now = self.clock.now()
            values = {
                "id": name,
                "owner": owner,
                "model": model,
                "state": State.QUEUED,
                "key": idempotency_key.encode() or None,
                "digest": digest,
                "size": _ROW + len(task),
                "now": now,
                "deadline": None if deadline is None else now + deadline,
            }
            if db.execute(INSERT, values).rowcount:
                self._payloads.use(db, "tasks", name, payload)
                self._tell(db, name)
                return self._find(db, name, owner)
            # Another came with this key at the same moment.
            return self._known(db, owner, idempotency_key, digest, name) or self._find(db, name, owner)

        try:
            if self._payloads.is_large(task) and (before := self._database.run(known_or_room)) is not None:
                return before
            payload = self._payloads.put(task)
            record = self._database.run(lambda db: add(db, payload))
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.errors.DiskFull):
                raise QueueFullError(f"no room for another request: {error}", retry_after=FULL_RETRY_AFTER) from error
            raise
        self._used += len(task)
        return record

    def find_duplicate(self, task: bytes, *, owner: str, model: str, idempotency_key: str) -> Record | None:
        digest = self._policy.digest(model, task)
        return self._database.run(lambda db: self._known(db, owner, idempotency_key, digest, ""))

    def _known(self, db: Db, owner: str, key: str, digest: bytes, request_id: str) -> Record | None:
        """Find what came with a key, or under an id whose adding was not seen to succeed."""
        if key:
            self._forget(db, owner=owner, key=key.encode())
        row = db.execute(
            "SELECT id, digest FROM requests WHERE owner = %s AND (idempotency_key = %s OR id = %s)",
            (owner, key.encode() or None, request_id),
        ).fetchone()
        if row is None:
            return None
        self._policy.check_same(key, digest, row[1])
        return self._find(db, row[0], owner)

    def get(self, request_id: str, owner: str) -> Record:
        return self._database.run(lambda db: self._find(db, request_id, owner))

    def result(self, request_id: str, owner: str) -> Record:
        def look(db: Db) -> tuple[Record, Payload | None]:
            record = self._find(db, request_id, owner)
            return record, db.execute("SELECT data, object FROM results WHERE id = %s", [request_id]).fetchone()

        record, payload = self._database.run(look)
        return record if payload is None else replace(record, result=self._payloads.get(payload))

    def _find(self, db: Db, request_id: str, owner: str) -> Record:
        values = {"id": request_id, "owner": owner, "now": self.clock.now()}
        # PostgreSQL keeps no NUL in a text, and refuses to look for one.
        row = None if "\0" in request_id else db.execute(RECORD, values).fetchone()
        if row is None:
            raise self._policy.unknown(request_id)
        return Record(*(*row[:3], State(row[3]), *row[4:]))

    def cancel(self, request_id: str, owner: str) -> tuple[Record, bool]:
        token = uuid.uuid4().hex

        def cancel(db: Db) -> bool:
            self._find(db, request_id, owner)
            row = db.execute("SELECT state FROM requests WHERE id = %s FOR UPDATE", [request_id]).fetchone()
            if row is None or (state := State(row[0])) in ENDS:
                return False
            return self._end(db, request_id, state, State.CANCELLED, token)

        is_new = self._once(token, request_id, cancel)
        return self.get(request_id, owner), is_new

    def lease(self) -> Lease | None:
        def lease(db: Db) -> tuple[Lease, Payload] | None:
            now = self.clock.now()
            values = {
                "state": move(State.QUEUED, State.PROCESSING),
                "now": now,
                "until": now + self.lease_seconds,
            }
            row = db.execute(LEASE, values).fetchone()
            if row is None:
                return None
            self._tell(db, row[0])
            return Lease(*(*row[:-2], b"")), row[-2:]

        taken = self._database.run(lease)
        return None if taken is None else self._with_task(*taken)

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
            if not self._end_lease(db, lease, State.COMPLETED, size=len(result)):
                return False
            self._payloads.use(db, "results", lease.request_id, payload)
            return True

        is_written = self._once(_token(lease), lease.request_id, complete)
        self._used += len(result) - len(lease.task)
        return is_written

    def fail(self, lease: Lease, error: AutomaskError) -> bool:
        encoded = self._policy.encode_error(error)
        return self._once(
            _token(lease),
            lease.request_id,
            lambda db: self._end_lease(db, lease, State.FAILED, error=encoded),
        )

    def release(self, lease: Lease) -> bool:
        def release(db: Db) -> bool:
            values = {
                "id": lease.request_id,
                "fence": lease.fence,
                "state": move(State.PROCESSING, State.QUEUED),
            }
            done = bool(db.execute(RELEASE, values).rowcount)
            if done:
                self._tell(db, lease.request_id)
            return done

        return self._database.run(release)

    def _once(self, token: str, request_id: str, end: Callable[[Db], bool]) -> bool:
        """End a request; tell so too where it was done before by this very call, whose answer got lost on its way."""

        def work(db: Db) -> bool:
            if end(db):
                self._unsure.add(token)
                return True
            return token in self._unsure and bool(
                db.execute("SELECT 1 FROM requests WHERE id = %s AND ended_by = %s", (request_id, token)).fetchone()
            )

        done = self._database.run(work)
        self._unsure.discard(token)
        return done

    def _end_lease(self, db: Db, lease: Lease, new: State, *, size: int = 0, error: bytes | None = None) -> bool:
        return self._end(
            db,
            lease.request_id,
            State.PROCESSING,
            new,
            _token(lease),
            fence=lease.fence,
            size=size,
            error=error,
        )

    def _end(
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
        now = self.clock.now()
        values = {
            "id": request_id,
            "old": old,
            "new": move(old, new),
            "token": token,
            "fence": fence,
            "size": _ROW + size + len(error or b""),
            "error": error,
            "now": now,
            "expires": now + self._policy.retention,
        }
        if db.execute(END, values).fetchone() is None:
            return False
        self._tell(db, request_id)
        return True

    def sweep(self) -> SweepResult:
        late = self._database.run(self._fail_late)
        requeued, given_up = self._database.run(self._take_back_lost)
        expired: list[str] = []
        while batch := self._database.run(self._forget):
            expired += batch
        self._payloads.collect()
        self._used = self._database.run(_size)
        return SweepResult(late, tuple(requeued), given_up, tuple(expired))

    def _fail_late(self, db: Db) -> dict[str, str]:
        rows = db.execute(LATE, [self.clock.now()]).fetchall()
        for request_id, _, state, seconds in rows:
            error = self._policy.late(request_id, seconds)
            self._end(db, request_id, State(state), State.FAILED, self._me, error=error)
        return {row[0]: row[1] for row in rows}

    def _take_back_lost(self, db: Db) -> tuple[list[str], dict[str, str]]:
        requeued, given_up = [], {}
        for request_id, owner, attempts in db.execute(LOST, [self.clock.now()]).fetchall():
            if attempts < self._policy.max_attempts:
                db.execute(REQUEUE, {"id": request_id, "state": move(State.PROCESSING, State.QUEUED)})
                self._tell(db, request_id)
                requeued.append(request_id)
            else:
                error = self._policy.given_up(request_id, attempts)
                self._end(db, request_id, State.PROCESSING, State.FAILED, self._me, error=error)
                given_up[request_id] = owner
        return requeued, given_up

    def _forget(self, db: Db, *, owner: str = "", key: bytes | None = None) -> list[str]:
        """Delete some of what has expired, or that which came with a key; none once all is deleted."""
        values = {"now": self.clock.now(), "owner": owner, "key": key, "most": _BATCH}
        return [request_id for (request_id,) in db.execute(FORGET, values)]

    def usage(self) -> Usage:
        def count(db: Db) -> Usage:
            counts: dict[str, int] = dict(db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall())
            self._used = _size(db)
            return Usage({state: counts.get(state, 0) for state in State}, self._used)

        return self._database.run(count)

    def listen(self, timeout: float) -> frozenset[str] | None:
        try:
            return self._listener.listen(timeout)
        except psycopg.Error as error:
            raise self._database.explain(error) from error

    def stop_listening(self) -> None:
        self._listener.stop_listening()


def _token(lease: Lease) -> str:
    return f"{lease.request_id} {lease.fence}"


def _nothing(_: Db) -> None:
    pass


def _size(db: Db) -> int:
    row = db.execute("SELECT coalesce(sum(size), 0) FROM requests").fetchone()
    return int(row[0]) if row else 0
