"""The request stores, used as they should be: all do the same."""

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
from support.stores import LEASE, RETENTION, Hands, add, open_store, taken


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | PostgresUrl:
    if request.param == "sqlite":
        return tmp_path / "requests.db"
    return PostgresUrl(request.getfixturevalue("postgres").create_database())


@pytest.fixture
def store(place: Path | PostgresUrl, hands: Hands) -> Iterator[Store]:
    with open_store(place, hands) as store:
        yield store


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
    cancelled, is_new = store.cancel(request_id, "me")
    assert (cancelled.state, is_new) == (State.CANCELLED, True)
    assert store.renew([lease]) == set()
    assert not store.complete(lease, b"too late")
    assert not store.fail(lease, ImageError("too late"))
    assert not store.release(lease)
    hands.advance(1)
    assert store.cancel(request_id, "me") == (cancelled, False)
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
    assert store.renew([stale]) == set()
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
    assert b"was given up after 3 attempts: each time the server died or its lease expired" in error
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
        assert record.error == f"DeadlineError: request {one} missed its deadline of 5 s".encode()
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


def test_a_full_queue_refuses_but_still_knows_its_keys(place: Path | PostgresUrl) -> None:
    with open_store(place, max_queue=2) as store:
        first = add(store, idempotency_key="key")
        add(store)
        with pytest.raises(QueueFullError, match="the queue is full: 2 requests are waiting") as caught:
            add(store)
        assert caught.value.retry_after == 1
        assert add(store, idempotency_key="key") == first
        taken(store)
        add(store)


def test_the_room_that_is_used_stays_bounded(place: Path | PostgresUrl, hands: Hands) -> None:
    limit = 2 << 20
    with open_store(place, hands, max_bytes=limit) as store:
        while store.usage().size + 100_000 <= limit:
            add(store, bytes(100_000))
        with pytest.raises(QueueFullError, match=r"no room for 100,000 bytes, .* in use \(limit 2,097,152\)"):
            add(store, bytes(100_000))
        while lease := store.lease():
            store.complete(lease, b"")
        store.sweep()
        add(store, bytes(100_000))


def test_a_name_that_a_database_cannot_hold_is_unknown_or_a_name(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.get("a\0b", "me")
    assert add(store, idempotency_key="a\0b") == add(store, idempotency_key="a\0b")


def test_what_others_change_is_heard_and_what_one_does_oneself_is_not_waited_for(
    place: Path | PostgresUrl, hands: Hands
) -> None:
    with open_store(place, hands) as one, open_store(place, hands) as two:
        assert one.listen(0) is None, "what came before is not known"
        assert two.listen(0) is None
        request_id = add(two)
        heard = one.listen(60)
        assert heard is None or heard == {request_id}
        assert one.listen(0) == frozenset(), "once"
        lease = taken(one)
        assert two.listen(60) in {None, frozenset({request_id})}
        one.complete(lease, b"result")
        assert two.listen(60) in {None, frozenset({request_id})}
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(one.listen, 600)
            one.stop_listening()
            assert waiting.result() == frozenset()


def test_of_several_that_cancel_at_once_one_hears_that_it_did(place: Path | PostgresUrl, hands: Hands) -> None:
    with open_store(place, hands) as one, open_store(place, hands) as two, ThreadPoolExecutor(8) as pool:
        for number in range(10):
            request_id = add(one, bytes([number]))
            told = pool.map(lambda store, what=request_id: store.cancel(what, "me"), [one, two] * 4)
            assert sorted(is_new for _, is_new in told) == [False] * 7 + [True]


def test_of_several_that_come_with_one_key_at_once_one_is_kept(place: Path | PostgresUrl, hands: Hands) -> None:
    with open_store(place, hands) as one, open_store(place, hands) as two, ThreadPoolExecutor(8) as pool:
        for number in range(10):
            key = f"key {number}"
            ids = set(pool.map(lambda store, key=key: add(store, idempotency_key=key), [one, two] * 4))
            assert len(ids) == 1
        assert one.usage().counts[State.QUEUED] == 10


def test_of_several_that_take_work_at_once_each_gets_another(place: Path | PostgresUrl, hands: Hands) -> None:
    def drain(store: Store) -> list[str]:
        done = []
        while lease := store.lease():
            assert store.complete(lease, lease.task)
            done.append(lease.request_id)
        return done

    with open_store(place, hands) as one, open_store(place, hands) as two, ThreadPoolExecutor(8) as pool:
        ids = [add(one, bytes([number])) for number in range(100)]
        done = [request_id for some in pool.map(drain, [one, two] * 4) for request_id in some]
        assert sorted(done) == sorted(ids)


def test_of_several_that_sweep_at_once_each_change_is_told_by_one(place: Path | PostgresUrl, hands: Hands) -> None:
    with open_store(place, hands) as one, open_store(place, hands) as two, ThreadPoolExecutor(4) as pool:
        late = [add(one, bytes([number]), deadline=5) for number in range(20)]
        lost = [add(one, bytes([100 + number])) for number in range(20)]
        done = [add(one, bytes([200 + number])) for number in range(20)]
        for request_id in done:
            one.cancel(request_id, "me")
        working = [taken(one) for _ in range(40)]
        hands.advance(RETENTION)
        swept = list(pool.map(lambda store: store.sweep(), [one, two] * 2))
        assert sorted(one for each in swept for one in each.late) == sorted(late)
        assert sorted(one for each in swept for one in each.requeued) == sorted(lost)
        assert sorted(one for each in swept for one in each.expired) == sorted(done)
        assert not any(one.complete(lease, b"") for lease in working)


def test_a_closed_store_says_so(place: Path | PostgresUrl) -> None:
    store = open_store(place)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        add(store)
    store.close()
