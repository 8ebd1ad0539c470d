"""The request stores in normal use; the same tests for each kind of store."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from automask.errors import ImageError, ParameterError
from automask.service.config.locations import PostgresUrl
from automask.service.errors import NotFoundError, QueueFullError, StoreError
from automask.service.states import State
from automask.service.store.protocol import Store
from automask.service.store.records import Lease
from support.stores import LEASE, RETENTION, ManualTime, add, lease_next, open_store


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | PostgresUrl:
    if request.param == "sqlite":
        return tmp_path / "requests.db"
    return PostgresUrl(request.getfixturevalue("postgres").create_database())


@pytest.fixture
def store(location: Path | PostgresUrl, time: ManualTime) -> Iterator[Store]:
    with open_store(location, time) as store:
        yield store


def test_a_request_from_queue_to_result_with_all_times(store: Store, time: ManualTime) -> None:
    added = store.add(b"task", owner="me", model="clipseg")
    begin = time.wall
    assert (added.state, added.queue_position, added.attempts) == (State.QUEUED, 0, 0)
    assert (added.created, added.started, added.ended, added.expires) == (begin, None, None, None)
    time.advance(2)
    lease = lease_next(store)
    assert lease == Lease(added.request_id, "me", "clipseg", 1, begin, begin + 2, None, 1, b"task")
    working = store.get(added.request_id, "me")
    assert (working.state, working.queue_position, working.attempts) == (State.PROCESSING, None, 1)
    time.advance(3)
    assert store.complete(lease, b"result")
    done = store.result(added.request_id, "me")
    assert (done.state, done.result, done.error) == (State.COMPLETED, b"result", None)
    assert (done.started, done.ended, done.expires) == (begin + 2, begin + 5, begin + 5 + RETENTION)
    assert store.get(added.request_id, "me").result is None


def test_the_queue_is_first_in_first_out(store: Store) -> None:
    ids = [add(store, bytes([i])) for i in range(4)]
    assert [store.get(one, "me").queue_position for one in ids] == [0, 1, 2, 3]
    assert lease_next(store).request_id == ids[0]
    store.cancel(ids[2], "me")
    assert [store.get(one, "me").queue_position for one in ids] == [None, 0, None, 1]
    assert [lease_next(store).request_id, lease_next(store).request_id] == [ids[1], ids[3]]
    assert store.lease() is None


def test_a_failed_request_has_its_error(store: Store) -> None:
    request_id = add(store)
    assert store.fail(lease_next(store), ImageError("no picture"))
    record = store.get(request_id, "me")
    assert (record.state, record.error) == (State.FAILED, b"ImageError: no picture")


def test_an_owner_cannot_see_requests_of_others(store: Store) -> None:
    request_id = add(store)
    for call in (store.get, store.result, store.cancel):
        with pytest.raises(NotFoundError, match=f"no request '{request_id}'"):
            call(request_id, "you")
    assert store.get(request_id, "me").state is State.QUEUED


def test_ids_cannot_be_guessed(store: Store) -> None:
    ids = {add(store) for _ in range(50)}
    assert len(ids) == 50
    assert all(len(one) == 32 and int(one, 16) for one in ids)


def test_cancelling_ends_the_lease_and_has_effect_once(store: Store, time: ManualTime) -> None:
    request_id = add(store)
    lease = lease_next(store)
    cancelled, is_new = store.cancel(request_id, "me")
    assert (cancelled.state, is_new) == (State.CANCELLED, True)
    assert store.renew([lease]) == set()
    assert not store.complete(lease, b"too late")
    assert not store.fail(lease, ImageError("too late"))
    assert not store.release(lease)
    time.advance(1)
    assert store.cancel(request_id, "me") == (cancelled, False)
    assert store.result(request_id, "me").result is None


def test_a_released_request_is_first_again_without_counting_the_attempt(store: Store) -> None:
    ids = [add(store, bytes([i])) for i in range(3)]
    leases = [lease_next(store), lease_next(store)]
    for lease in reversed(leases):
        assert store.release(lease)
    assert [store.get(one, "me").queue_position for one in ids] == [0, 1, 2]
    again = lease_next(store)
    assert (again.request_id, again.attempts, again.fence) == (ids[0], 1, 2)
    assert not store.complete(leases[0], b"under the old lease")


def test_small_requests_can_be_leased_past_large_ones(store: Store) -> None:
    large, small, slow = add(store, b"1", is_large=True), add(store, b"2"), add(store, b"3")
    first = store.lease(only_small=True)
    assert first is not None
    assert (first.request_id, first.is_large) == (small, False)
    assert store.complete(first, b"result")
    turned = lease_next(store), lease_next(store)
    assert [(lease.request_id, lease.is_large) for lease in turned] == [(large, True), (slow, False)]
    assert store.release(turned[0])
    assert store.release(turned[1], is_large=True)
    assert store.lease(only_small=True) is None
    again = lease_next(store), lease_next(store)
    assert [(one.request_id, one.is_large, one.attempts) for one in again] == [(large, True, 1), (slow, True, 1)]


def test_ten_drains_count_no_attempt_and_further_ones_do(store: Store) -> None:
    request_id, other = add(store), add(store, b"other")
    for _ in range(10):
        lease = lease_next(store)
        assert (lease.request_id, lease.attempts) == (request_id, 1)
        assert store.put_back(lease) is State.QUEUED
        assert store.put_back(lease) is None
    assert store.get(request_id, "me").queue_position == 0
    for attempt in (1, 2, 3):
        while (lease := lease_next(store)).request_id == other:
            assert store.release(lease)
            assert store.complete(lease_next(store), b"result")
        assert lease.attempts == attempt
        assert store.put_back(lease) is (State.QUEUED if attempt < 3 else State.FAILED)
    record = store.get(request_id, "me")
    assert (record.state, record.attempts) == (State.FAILED, 3)
    assert record.error is not None
    assert b"given up after 3 attempts" in record.error
    assert b"a drain interrupted it (the first 10 drains do not count)" in record.error


def test_a_lease_that_is_not_renewed_expires_and_its_updates_are_refused(store: Store, time: ManualTime) -> None:
    lost, kept, waiting = (add(store, bytes([i])) for i in range(3))
    stale, good = lease_next(store), lease_next(store)
    time.advance(LEASE - 1)
    assert store.renew([good]) == {kept}
    time.advance(1)
    assert store.sweep().requeued == (lost,)
    assert store.get(lost, "me").queue_position == 1, "behind the queued one"
    assert lease_next(store).request_id == waiting
    fresh = lease_next(store)
    assert (fresh.request_id, fresh.attempts, fresh.fence) == (lost, 2, 2)
    assert store.renew([stale]) == set()
    assert store.renew([stale, fresh, good]) == {lost, kept}
    assert not store.complete(stale, b"stale")
    assert store.complete(fresh, b"fresh")
    assert not store.complete(stale, b"stale")
    assert store.result(lost, "me").result == b"fresh"


def test_a_request_is_given_up_after_three_lost_attempts_and_does_not_block_others(
    store: Store, time: ManualTime
) -> None:
    poison, good = add(store, b"poison"), add(store, b"good")
    for attempt in (1, 2, 3):
        while (lease := lease_next(store)).request_id != poison:
            assert store.complete(lease, b"result")
        assert lease.attempts == attempt
        time.advance(LEASE)
        swept = store.sweep()
        assert (swept.requeued, swept.given_up) == (((poison,), {}) if attempt < 3 else ((), {poison: "me"}))
    error = store.get(poison, "me").error
    assert error is not None
    assert b"InternalError" in error
    assert b"was given up after 3 attempts: each time the server died or its lease expired" in error
    assert store.get(good, "me").state is State.COMPLETED
    assert store.lease() is None


def test_a_deadline_fails_queued_and_processing_requests(store: Store, time: ManualTime) -> None:
    running, waiting = add(store, b"1", deadline=5), add(store, b"2", deadline=5)
    patient = add(store, b"3")
    lease = lease_next(store)
    assert lease.deadline == time.wall + 5
    time.advance(5)
    assert lease_next(store).request_id == patient, "a late request is not leased, even before the sweep"
    assert set(store.sweep().late) == {running, waiting}
    for one in (running, waiting):
        record = store.get(one, "me")
        assert record.state is State.FAILED
        assert record.error == f"DeadlineError: request {one} missed its deadline of 5 s".encode()
    assert not store.complete(lease, b"too late")


def test_a_request_expires_after_its_retention_even_before_the_sweep(store: Store, time: ManualTime) -> None:
    request_id = add(store)
    store.complete(lease_next(store), b"result")
    time.advance(RETENTION - 1)
    assert store.sweep().expired == ()
    assert store.result(request_id, "me").result == b"result"
    time.advance(1)
    with pytest.raises(NotFoundError):
        store.get(request_id, "me")
    assert store.sweep().expired == (request_id,)
    assert sum(store.usage().counts.values()) == 0


def test_a_queued_request_does_not_expire(store: Store, time: ManualTime) -> None:
    request_id = add(store)
    time.advance(100 * RETENTION)
    store.sweep()
    assert store.get(request_id, "me").state is State.QUEUED


def test_an_idempotency_key_returns_the_same_request_until_it_expires(store: Store, time: ManualTime) -> None:
    first = add(store, idempotency_key="key")
    assert add(store, idempotency_key="key") == first
    assert add(store, idempotency_key="key", owner="you") != first
    assert add(store, idempotency_key="other") != first
    assert add(store) != add(store)
    store.complete(lease_next(store), b"result")
    assert store.add(b"task", owner="me", model="default", idempotency_key="key").state is State.COMPLETED
    time.advance(RETENTION)
    assert add(store, idempotency_key="key") != first, "expired, though not swept yet"


@pytest.mark.parametrize("other", [{"task": b"other"}, {"model": "other"}])
def test_another_task_with_the_same_idempotency_key_is_refused(store: Store, other: dict[str, object]) -> None:
    add(store, idempotency_key="key")
    with pytest.raises(ParameterError, match="idempotency_key must be new, or come with the task .* got 'key'"):
        add(store, idempotency_key="key", **other)  # type: ignore[arg-type]
    assert store.usage().counts[State.QUEUED] == 1


def test_a_full_queue_refuses_new_requests_but_finds_known_keys(location: Path | PostgresUrl) -> None:
    with open_store(location, max_queue=2) as store:
        first = add(store, idempotency_key="key")
        add(store)
        with pytest.raises(QueueFullError, match="the queue is full: 2 requests are waiting") as caught:
            add(store)
        assert caught.value.retry_after == 1
        assert add(store, idempotency_key="key") == first
        lease_next(store)
        add(store)


def test_an_owner_has_at_most_as_many_waiting_requests_as_there_are_free_places(location: Path | PostgresUrl) -> None:
    with open_store(location, max_queue=8, is_fair=True) as store:
        for _ in range(4):
            add(store, owner="greedy")
        with pytest.raises(
            QueueFullError, match=r"4 of its requests are waiting, and 4 free places .*\(limit 8"
        ) as caught:
            add(store, owner="greedy")
        assert caught.value.retry_after == 1
        for owner in ("a", "a", "b"):
            add(store, owner=owner)
        with pytest.raises(QueueFullError, match="the share of this key in the queue is full: 2 of its"):
            add(store, owner="a")
        add(store, owner="c")
        with pytest.raises(QueueFullError, match="the queue is full: 8 requests are waiting"):
            add(store, owner="d")


def test_the_owner_with_the_fewest_requests_in_work_is_next(location: Path | PostgresUrl) -> None:
    with open_store(location, max_queue=99, is_fair=True) as store:
        for owner in ("greedy", "greedy", "greedy", "greedy", "a", "a", "b"):
            add(store, owner=owner, task=owner.encode(), is_large=owner == "b")
        assert [lease_next(store).owner for _ in range(2)] == ["greedy", "a"]
        small = store.lease(only_small=True)
        assert small is not None
        assert small.owner == "greedy", "all that may be taken have one in work; the oldest is next"
        store.complete(small, b"")
        leases = [lease_next(store) for _ in range(4)]
        assert [lease.owner for lease in leases] == ["b", "greedy", "a", "greedy"]
        assert [lease.task for lease in leases] == [lease.owner.encode() for lease in leases]
        assert store.lease() is None


def test_the_bytes_in_use_stay_below_the_limit(location: Path | PostgresUrl, time: ManualTime) -> None:
    limit = 2 << 20
    with open_store(location, time, max_bytes=limit) as store:
        while store.usage().size + 100_000 <= limit:
            add(store, bytes(100_000))
        with pytest.raises(QueueFullError, match=r"no room for 100,000 bytes, .* in use \(limit 2,097,152\)"):
            add(store, bytes(100_000))
        while lease := store.lease():
            store.complete(lease, b"")
        store.sweep()
        add(store, bytes(100_000))


def test_a_nul_in_an_id_or_idempotency_key(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.get("a\0b", "me")
    assert add(store, idempotency_key="a\0b") == add(store, idempotency_key="a\0b")


def test_listen_returns_changes_by_other_stores_once(location: Path | PostgresUrl, time: ManualTime) -> None:
    with open_store(location, time) as one, open_store(location, time) as two:
        assert one.listen(0) is None, "earlier changes are not known"
        assert two.listen(0) is None
        request_id = add(two)
        changed = one.listen(60)
        assert changed is None or changed == {request_id}
        assert one.listen(0) == frozenset(), "once"
        lease = lease_next(one)
        assert two.listen(60) in {None, frozenset({request_id})}
        one.complete(lease, b"result")
        assert two.listen(60) in {None, frozenset({request_id})}
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(one.listen, 600)
            one.stop_listening()
            assert waiting.result() == frozenset()


def test_of_concurrent_cancels_one_ends_the_request(location: Path | PostgresUrl, time: ManualTime) -> None:
    with open_store(location, time) as one, open_store(location, time) as two, ThreadPoolExecutor(8) as pool:
        for number in range(10):
            request_id = add(one, bytes([number]))
            answers = pool.map(lambda store, what=request_id: store.cancel(what, "me"), [one, two] * 4)
            assert sorted(is_new for _, is_new in answers) == [False] * 7 + [True]


def test_concurrent_requests_with_one_key_are_one_request(location: Path | PostgresUrl, time: ManualTime) -> None:
    with open_store(location, time) as one, open_store(location, time) as two, ThreadPoolExecutor(8) as pool:
        for number in range(10):
            key = f"key {number}"
            ids = set(pool.map(lambda store, key=key: add(store, idempotency_key=key), [one, two] * 4))
            assert len(ids) == 1
        assert one.usage().counts[State.QUEUED] == 10


def test_concurrent_leases_are_of_different_requests(location: Path | PostgresUrl, time: ManualTime) -> None:
    def drain(store: Store) -> list[str]:
        done = []
        while lease := store.lease():
            assert store.complete(lease, lease.task)
            done.append(lease.request_id)
        return done

    with open_store(location, time) as one, open_store(location, time) as two, ThreadPoolExecutor(8) as pool:
        ids = [add(one, bytes([number])) for number in range(100)]
        done = [request_id for some in pool.map(drain, [one, two] * 4) for request_id in some]
        assert sorted(done) == sorted(ids)


def test_of_concurrent_sweeps_one_reports_each_change(location: Path | PostgresUrl, time: ManualTime) -> None:
    with open_store(location, time) as one, open_store(location, time) as two, ThreadPoolExecutor(4) as pool:
        late = [add(one, bytes([number]), deadline=5) for number in range(20)]
        lost = [add(one, bytes([100 + number])) for number in range(20)]
        done = [add(one, bytes([200 + number])) for number in range(20)]
        for request_id in done:
            one.cancel(request_id, "me")
        working = [lease_next(one) for _ in range(40)]
        time.advance(RETENTION)
        swept = list(pool.map(lambda store: store.sweep(), [one, two] * 2))
        assert sorted(one for each in swept for one in each.late) == sorted(late)
        assert sorted(one for each in swept for one in each.requeued) == sorted(lost)
        assert sorted(one for each in swept for one in each.expired) == sorted(done)
        assert not any(one.complete(lease, b"") for lease in working)


def test_a_closed_store_raises_an_error(location: Path | PostgresUrl) -> None:
    store = open_store(location)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        add(store)
    store.close()
