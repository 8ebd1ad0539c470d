"""The request store, used as it should be."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from automask.errors import ImageError, ParameterError
from automask.service.errors import NotFoundError, QueueFullError, StoreError
from automask.service.store import store as store_module
from automask.service.store.records import Lease
from automask.service.store.schema import migrate
from automask.service.store.states import State
from automask.service.store.store import Store
from stores import LEASE, RETENTION, Hands, open_store


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.db"


@pytest.fixture
def store(path: Path, hands: Hands) -> Iterator[Store]:
    with open_store(path, hands) as store:
        yield store


def add(store: Store, task: bytes = b"task", **options: object) -> str:
    return store.add(task, **({"owner": "me", "model": "default"} | options)).request_id  # type: ignore[arg-type]


def taken(store: Store) -> Lease:
    lease = store.lease()
    assert lease is not None
    return lease


def test_a_request_goes_its_way_and_every_time_is_kept(store: Store, hands: Hands) -> None:
    added = store.add(b"task", owner="me", model="clipseg")
    begin = hands.wall
    assert (added.state, added.queue_position, added.attempts) == (State.QUEUED, 0, 0)
    assert (added.created, added.started, added.ended, added.expires) == (begin, None, None, None)
    hands.advance(2)
    lease = taken(store)
    assert lease == Lease(added.request_id, "me", "clipseg", 1, begin, begin + 2, None, 1, b"task")
    working = store.get(added.request_id, "me")
    assert (working.state, working.queue_position, working.attempts) == (State.PROCESSING, None, 1)
    hands.advance(3)
    assert store.complete(lease, b"result")
    done = store.result(added.request_id, "me")
    assert (done.state, done.result, done.error) == (State.COMPLETED, b"result", None)
    assert (done.started, done.ended, done.expires) == (begin + 2, begin + 5, begin + 5 + RETENTION)
    assert store.get(added.request_id, "me").result is None


def test_first_in_first_out_and_positions_count_down(store: Store) -> None:
    ids = [add(store, bytes([i])) for i in range(4)]
    assert [store.get(one, "me").queue_position for one in ids] == [0, 1, 2, 3]
    assert taken(store).request_id == ids[0]
    store.cancel(ids[2], "me")
    assert [store.get(one, "me").queue_position for one in ids] == [None, 0, None, 1]
    assert [taken(store).request_id, taken(store).request_id] == [ids[1], ids[3]]
    assert store.lease() is None


def test_a_failure_keeps_its_error(store: Store) -> None:
    request_id = add(store)
    assert store.fail(taken(store), ImageError("no picture"))
    record = store.get(request_id, "me")
    assert (record.state, record.error) == (State.FAILED, b"ImageError: no picture")


def test_nobody_sees_the_request_of_another(store: Store) -> None:
    request_id = add(store)
    for ask in (store.get, store.result, store.cancel):
        with pytest.raises(NotFoundError, match=f"no request '{request_id}'"):
            ask(request_id, "you")
    assert store.get(request_id, "me").state is State.QUEUED


def test_ids_cannot_be_guessed(store: Store) -> None:
    ids = {add(store) for _ in range(50)}
    assert len(ids) == 50
    assert all(len(one) == 32 and int(one, 16) for one in ids)


def test_cancelling_takes_the_lease_away_and_twice_is_once(store: Store, hands: Hands) -> None:
    request_id = add(store)
    lease = taken(store)
    cancelled = store.cancel(request_id, "me")
    assert cancelled.state is State.CANCELLED
    assert store.renew([lease]) == set()
    assert not store.complete(lease, b"too late")
    assert not store.fail(lease, ImageError("too late"))
    assert not store.release(lease)
    hands.advance(1)
    assert store.cancel(request_id, "me") == cancelled
    assert store.result(request_id, "me").result is None


def test_what_is_released_comes_first_again_and_counts_no_attempt(store: Store) -> None:
    ids = [add(store, bytes([i])) for i in range(3)]
    leases = [taken(store), taken(store)]
    for lease in reversed(leases):
        assert store.release(lease)
    assert [store.get(one, "me").queue_position for one in ids] == [0, 1, 2]
    again = taken(store)
    assert (again.request_id, again.attempts, again.fence) == (ids[0], 1, 2)
    assert not store.complete(leases[0], b"from before")


def test_a_lease_that_is_not_renewed_goes_to_another_and_the_first_is_fenced_off(store: Store, hands: Hands) -> None:
    lost, kept, waiting = (add(store, bytes([i])) for i in range(3))
    stale, good = taken(store), taken(store)
    hands.advance(LEASE - 1)
    assert store.renew([good]) == {kept}
    hands.advance(1)
    assert store.sweep().requeued == (lost,)
    assert store.get(lost, "me").queue_position == 1, "behind what waited"
    assert taken(store).request_id == waiting
    fresh = taken(store)
    assert (fresh.request_id, fresh.attempts, fresh.fence) == (lost, 2, 2)
    assert store.renew([stale, fresh, good]) == {lost, kept}
    assert not store.complete(stale, b"stale")
    assert store.complete(fresh, b"fresh")
    assert not store.complete(stale, b"stale")
    assert store.result(lost, "me").result == b"fresh"


def test_a_poison_image_is_given_up_after_three_attempts_and_blocks_nobody(store: Store, hands: Hands) -> None:
    poison, good = add(store, b"poison"), add(store, b"good")
    for attempt in (1, 2, 3):
        while (lease := taken(store)).request_id != poison:
            assert store.complete(lease, b"result")
        assert lease.attempts == attempt
        hands.advance(LEASE)
        swept = store.sweep()
        assert (swept.requeued, swept.given_up) == (((poison,), {}) if attempt < 3 else ((), {poison: "me"}))
    error = store.get(poison, "me").error
    assert error is not None
    assert b"InternalError" in error
    assert b"was given up after 3 attempts: each time the server died or lost it while working on it" in error
    assert store.get(good, "me").state is State.COMPLETED
    assert store.lease() is None


def test_a_deadline_ends_what_waits_and_what_runs(store: Store, hands: Hands) -> None:
    running, waiting = add(store, b"1", deadline=5), add(store, b"2", deadline=5)
    patient = add(store, b"3")
    lease = taken(store)
    assert lease.deadline == hands.wall + 5
    hands.advance(5)
    assert taken(store).request_id == patient, "what is late is not given out, swept or not"
    assert set(store.sweep().late) == {running, waiting}
    for one in (running, waiting):
        record = store.get(one, "me")
        assert record.state is State.FAILED
        assert record.error == f"DeadlineError: request {one} was not done within the 5 s that it was given".encode()
    assert not store.complete(lease, b"too late")


def test_what_has_ended_expires_swept_or_not(store: Store, hands: Hands) -> None:
    request_id = add(store)
    store.complete(taken(store), b"result")
    hands.advance(RETENTION - 1)
    assert store.sweep().expired == ()
    assert store.result(request_id, "me").result == b"result"
    hands.advance(1)
    with pytest.raises(NotFoundError):
        store.get(request_id, "me")
    assert store.sweep().expired == (request_id,)
    assert sum(store.usage().counts.values()) == 0


def test_what_waits_never_expires(store: Store, hands: Hands) -> None:
    request_id = add(store)
    hands.advance(100 * RETENTION)
    store.sweep()
    assert store.get(request_id, "me").state is State.QUEUED


def test_the_same_key_gives_the_same_request_until_it_expires(store: Store, hands: Hands) -> None:
    first = add(store, idempotency_key="key")
    assert add(store, idempotency_key="key") == first
    assert add(store, idempotency_key="key", owner="you") != first
    assert add(store, idempotency_key="other") != first
    assert add(store) != add(store)
    store.complete(taken(store), b"result")
    assert store.add(b"task", owner="me", model="default", idempotency_key="key").state is State.COMPLETED
    hands.advance(RETENTION)
    assert add(store, idempotency_key="key") != first, "not swept yet, but gone"


@pytest.mark.parametrize("other", [{"task": b"other"}, {"model": "other"}])
def test_another_task_under_the_same_key_is_refused(store: Store, other: dict[str, object]) -> None:
    add(store, idempotency_key="key")
    with pytest.raises(ParameterError, match="idempotency_key must be new, or come with the task .* got 'key'"):
        add(store, idempotency_key="key", **other)  # type: ignore[arg-type]
    assert store.usage().counts[State.QUEUED] == 1


def test_a_full_queue_refuses_but_still_knows_its_keys(path: Path) -> None:
    with open_store(path, max_queue=2) as store:
        first = add(store, idempotency_key="key")
        add(store)
        with pytest.raises(QueueFullError, match="2 requests wait already") as caught:
            add(store)
        assert caught.value.retry_after == 1
        assert add(store, idempotency_key="key") == first
        taken(store)
        add(store)


def test_the_disk_that_is_used_stays_bounded(path: Path, hands: Hands) -> None:
    limit = 2 << 20
    with open_store(path, hands, max_bytes=limit) as store:
        while store.usage().size + 100_000 <= limit:
            add(store, bytes(100_000))
        with pytest.raises(QueueFullError, match="no room for 100,000 bytes more: the store uses .* at most 2,097,152"):
            add(store, bytes(100_000))
        assert sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) < limit + 200_000
        while lease := store.lease():
            store.complete(lease, b"")
        hands.advance(RETENTION)
        store.sweep()
        assert sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) < 200_000
        add(store, bytes(100_000))


def test_a_disk_that_is_nearly_full_is_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SPARE_SHARE", 1)
    monkeypatch.setattr(store_module, "_SPARE_BYTES", 1 << 62)
    with pytest.raises(
        QueueFullError, match="are left on the store's disk, of which .* are kept for results"
    ) as caught:
        add(store)
    assert caught.value.retry_after == 30
    assert sum(store.usage().counts.values()) == 0


def test_photos_and_results_are_private(path: Path, hands: Hands) -> None:
    photo, result = b"PHOTO" * 2000, b"RESULT" * 2000
    with open_store(path, hands) as store:
        request_id = add(store, photo)
        other = add(store, b"cancelled" + photo)
        store.complete(taken(store), result)
        store.cancel(other, "me")
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM tasks").fetchone() == (0,), "dropped at once"
        store.sweep()
        assert b"PHOTOPHOTO" not in everything(path)
        assert b"RESULTRESULT" in everything(path)
        hands.advance(RETENTION)
        assert store.sweep().expired == (request_id, other)
        assert b"RESULTRESULT" not in everything(path)
    assert path.stat().st_mode & 0o077 == 0


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_the_settings_of_sqlite(store: Store) -> None:
    add(store)
    with store._database.transaction() as db:
        found = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "secure_delete")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2, "secure_delete": 1}


def test_a_closed_store_says_so(path: Path) -> None:
    store = open_store(path)
    store.close()
    with pytest.raises(StoreError, match="closed database"):
        add(store)
    store.close()


def test_migration_takes_only_the_missing_steps_and_all_or_none() -> None:
    first, second = ["CREATE TABLE one (a)"], ["ALTER TABLE one ADD COLUMN b", "INSERT INTO one VALUES (1, 2)"]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, [first])
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            migrate(db, [first, [*second, "INSERT INTO missing VALUES (1)"]])
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert [row[1] for row in db.execute("PRAGMA table_info(one)")] == ["a"]
        for _ in range(2):
            migrate(db, [first, second])
        assert db.execute("SELECT * FROM one").fetchall() == [(1, 2)]
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
