"""The request store, called in any order by hypothesis, compared with a model of a few lines."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from automask.errors import ImageError
from automask.service.config.locations import PostgresUrl
from automask.service.errors import NotFoundError, QueueFullError
from automask.service.states import FINAL_STATES, State
from automask.service.store.protocol import Store
from automask.service.store.records import Lease
from support.postgres import Postgres
from support.stores import LEASE, RETENTION, ManualTime, open_store


@dataclass
class Known:
    """A request of the model."""

    owner: str
    task: bytes
    order: int
    deadline: float | None
    state: State = State.QUEUED
    attempts: int = 0
    put_backs: int = 0
    fence: int = 0
    lease_until: float = 0.0
    expires: float | None = None
    result: bytes | None = None


class AnyOrder(RuleBasedStateMachine):
    """Runs the store and the model; after each step, both must agree."""

    leases: Bundle[Lease] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.time = ManualTime()
        self.known: dict[str, Known] = {}
        self.keys: dict[str, str] = {}
        self.steps = 0
        self.store = self.open()

    def open(self) -> Store:
        return open_store(Path(self.folder.name) / "requests.db", self.time, max_queue=4, max_put_backs=1)

    def crash_ends_leases(self) -> None:
        """Requests that were PROCESSING are queued again: no other process has the file open."""
        working = [one for one, known in self.known.items() if known.state is State.PROCESSING]
        for one in sorted(working, key=lambda one: self.known[one].order):
            self.requeue_or_fail(one)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def queue(self) -> list[str]:
        waiting = [one for one, known in self.known.items() if known.state is State.QUEUED]
        return sorted(waiting, key=lambda one: self.known[one].order)

    def next(self) -> int:
        self.steps += 1
        return self.steps

    def holds(self, lease: Lease) -> bool:
        known = self.known.get(lease.request_id)
        return known is not None and known.state is State.PROCESSING and known.fence == lease.fence

    def end(self, request_id: str, state: State, result: bytes | None = None) -> None:
        known = self.known[request_id]
        assert known.state not in FINAL_STATES
        known.state, known.result, known.expires = state, result, self.time.wall + RETENTION

    def requeue_or_fail(self, request_id: str) -> None:
        known = self.known[request_id]
        if known.attempts < 3:
            known.state, known.order = State.QUEUED, self.next()
        else:
            self.end(request_id, State.FAILED)

    @rule(
        owner=st.sampled_from("ab"),
        key=st.sampled_from(["", "", "k"]),
        deadline=st.sampled_from([None, None, 15.0]),
        size=st.sampled_from([1, 5000]),
    )
    def add(self, owner: str, key: str, deadline: float | None, size: int) -> None:
        task = b"same" if key else bytes([self.steps % 256]) * size
        before = self.keys.get(owner) if key else None
        if before and ((expires := self.known[before].expires) is None or expires > self.time.wall):
            assert self.store.add(task, owner=owner, model="m", idempotency_key=key).request_id == before
        elif len(self.queue()) >= 4:
            with pytest.raises(QueueFullError):
                self.store.add(task, owner=owner, model="m", idempotency_key=key)
        else:
            record = self.store.add(task, owner=owner, model="m", idempotency_key=key, deadline=deadline)
            assert record.request_id not in self.known
            until = None if deadline is None else self.time.wall + deadline
            self.known[record.request_id] = Known(owner, task, self.next(), until)
            if key:
                self.keys[owner] = record.request_id

    @rule(target=leases)
    def lease(self) -> Lease | MultipleResults[Lease]:
        lease = self.store.lease()
        now = self.time.wall
        ready = [one for one in self.queue() if (deadline := self.known[one].deadline) is None or deadline > now]
        if not ready:
            assert lease is None
            return multiple()
        known = self.known[ready[0]]
        known.state, known.attempts, known.fence = State.PROCESSING, known.attempts + 1, known.fence + 1
        known.lease_until = self.time.steady + LEASE
        assert lease is not None
        assert (lease.request_id, lease.task, lease.owner) == (ready[0], known.task, known.owner)
        assert (lease.attempts, lease.fence) == (known.attempts, known.fence)
        return lease

    @rule(lease=leases, size=st.sampled_from([0, 6000]))
    def complete(self, lease: Lease, size: int) -> None:
        result = bytes(size)
        holds = self.holds(lease)
        assert self.store.complete(lease, result) == holds
        if holds:
            self.end(lease.request_id, State.COMPLETED, result)

    @rule(lease=leases)
    def fail(self, lease: Lease) -> None:
        holds = self.holds(lease)
        assert self.store.fail(lease, ImageError("no picture")) == holds
        if holds:
            self.end(lease.request_id, State.FAILED)

    @rule(lease=consumes(leases))
    def release(self, lease: Lease) -> None:
        holds = self.holds(lease)
        assert self.store.release(lease) == holds
        if holds:
            known = self.known[lease.request_id]
            known.state, known.attempts = State.QUEUED, known.attempts - 1

    @rule(lease=consumes(leases))
    def put_back(self, lease: Lease) -> None:
        holds = self.holds(lease)
        state = self.store.put_back(lease)
        if not holds:
            assert state is None
            return
        known = self.known[lease.request_id]
        if known.put_backs < 1:
            known.state, known.attempts, known.put_backs = State.QUEUED, known.attempts - 1, 1
        else:
            self.requeue_or_fail(lease.request_id)
        assert state is known.state

    @rule(some=st.lists(leases, max_size=3))
    def renew(self, some: list[Lease]) -> None:
        held = {lease.request_id for lease in some if self.holds(lease)}
        assert self.store.renew(some) == held
        for one in held:
            self.known[one].lease_until = self.time.steady + LEASE

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        alive = [one for one, known in self.known.items() if known.expires is None or known.expires > self.time.wall]
        if alive:
            request_id = data.draw(st.sampled_from(alive))
            record, is_new = self.store.cancel(request_id, self.known[request_id].owner)
            assert is_new == (self.known[request_id].state not in FINAL_STATES)
            if self.known[request_id].state not in FINAL_STATES:
                self.end(request_id, State.CANCELLED)
            assert record.state is self.known[request_id].state

    @rule(seconds=st.sampled_from([1, 4, 11, 120]))
    def advance(self, seconds: int) -> None:
        self.time.advance(seconds)

    @rule()
    def sweep(self) -> None:
        swept = self.store.sweep()
        now = self.time.wall
        late = {
            one
            for one, known in self.known.items()
            if known.state not in FINAL_STATES and known.deadline is not None and known.deadline <= now
        }
        assert set(swept.late) == late
        for one in late:
            self.end(one, State.FAILED)
        lost = [
            one
            for one, known in self.known.items()
            if known.state is State.PROCESSING and known.lease_until <= self.time.steady
        ]
        for one in sorted(lost, key=lambda one: self.known[one].order):
            self.requeue_or_fail(one)
        assert {*swept.requeued, *swept.given_up} == set(lost)
        assert all(self.known[one].state is State.QUEUED for one in swept.requeued)

    @rule()
    def crash(self) -> None:
        self.store.close()
        self.store = self.open()
        self.crash_ends_leases()

    @invariant()
    def store_and_model_agree(self) -> None:
        queue = self.queue()
        for one, known in self.known.items():
            if known.expires is not None and known.expires <= self.time.wall:
                with pytest.raises(NotFoundError):
                    self.store.get(one, known.owner)
                continue
            record = self.store.result(one, known.owner)
            assert (record.state, record.attempts, record.result) == (known.state, known.attempts, known.result)
            assert record.queue_position == (queue.index(one) if one in queue else None)
            assert (record.expires, record.error is not None) == (known.expires, known.state is State.FAILED)


class AnyOrderInPostgres(AnyOrder):
    """The same in PostgreSQL, where leases outlive their process, and large payloads are in a folder."""

    cluster: ClassVar[Postgres]
    database: ClassVar[str]

    def open(self) -> Store:
        media = f"{self.folder.name}/media"
        return open_store(PostgresUrl(self.database), self.time, media=media, max_queue=4, max_put_backs=1)

    def crash_ends_leases(self) -> None:
        """Nothing: another server may hold them."""

    def teardown(self) -> None:
        database = self.database.rpartition("/")[2]
        try:
            self.store.sweep()
            known = {path for (path,) in self.cluster.execute("SELECT path FROM automask.objects", database)}
            assert known == {file.name for file in Path(self.folder.name, "media").iterdir()}
        finally:  # also after a failure: the next example starts with empty tables
            self.cluster.execute("TRUNCATE automask.requests, automask.objects CASCADE", database)
            super().teardown()


@pytest.fixture(scope="module", autouse=True)
def database(postgres: Postgres) -> None:
    AnyOrderInPostgres.cluster, AnyOrderInPostgres.database = postgres, postgres.create_database()


for machine, examples in ((AnyOrder, 60), (AnyOrderInPostgres, 15)):  # each step compares every request
    machine.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
TestAnyOrder = AnyOrder.TestCase
TestAnyOrderInPostgres = AnyOrderInPostgres.TestCase
