"""The SQLite store under failures: kill -9, a full disk, damaged files, clock jumps."""

import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from automask.service.errors import NotFoundError, QueueFullError, StoreError
from automask.service.states import State
from automask.service.store.policy import StorePolicy
from automask.service.store.protocol import Store
from automask.service.store.sqlite.store import SqliteStore
from support import store_breaking
from support.stores import LEASE, RETENTION, ManualTime, encode_error, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.db"


def start(program: Callable[[Path], None], path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "support.store_breaking", program.__name__, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def add(store: Store, count: int = 1, task: bytes = b"task") -> list[str]:
    return [store.add(task, owner="me", model="default").request_id for _ in range(count)]


def drain(store: Store) -> dict[str, bytes]:
    """Lease all queued requests; return their tasks by id."""
    tasks = {}
    while lease := store.lease():
        tasks[lease.request_id] = lease.task
    return tasks


def test_acknowledged_requests_survive_kill_9(path: Path) -> None:
    acknowledged: list[str] = []
    for wanted in (1, 2, 7, 13, 29):
        with start(store_breaking.add_for_ever, path) as process:
            assert process.stdout
            acknowledged += [process.stdout.readline().strip() for _ in range(wanted)]
            process.kill()
            # Lines printed before the kill count too; the last one may be incomplete.
            acknowledged += [line.strip() for line in process.stdout if len(line) == 33]
    with open_store(path) as store:
        for request_id in acknowledged:
            assert store.get(request_id, "me").state is State.QUEUED
        tasks = drain(store)
    assert len(set(acknowledged)) == len(acknowledged) >= 52
    assert set(acknowledged) <= set(tasks)
    assert len(tasks) <= len(acknowledged) + 5, "at most one per round was written without being acknowledged"
    assert set(tasks.values()) == {store_breaking.PHOTO}


def test_requests_of_a_killed_process_are_requeued_at_start(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(path) as store:
        first, second = add(store, 2)
    with start(store_breaking.lease_and_hang, path) as process:
        assert process.stdout
        assert process.stdout.readline().strip() == first
        with open_store(path) as other:
            assert other.get(first, "me").state is State.PROCESSING, "the process is alive and keeps its lease"
        process.kill()
    with open_store(path) as store:
        assert [store.get(one, "me").queue_position for one in (second, first)] == [0, 1]
        assert store.get(first, "me").attempts == 1
    assert "the last server died while working on 1 requests: 1 queued again, 0 given up" in caplog.text


def test_a_request_that_kills_the_server_three_times_is_given_up(path: Path) -> None:
    with open_store(path) as store:
        (request_id,) = add(store)
    for _ in range(3):
        with start(store_breaking.lease_and_hang, path) as process:
            assert process.stdout
            assert process.stdout.readline().strip() == request_id
            process.kill()
    with open_store(path) as store:
        record = store.get(request_id, "me")
        assert (record.state, record.attempts) == (State.FAILED, 3)
        assert b"given up after 3 attempts" in (record.error or b"")


def test_two_processes_complete_each_request_once(path: Path) -> None:
    with open_store(path, max_queue=1000) as store:
        ids = add(store, 200)
        assert store.listen(0) is None
        processes = [start(store_breaking.work, path) for _ in range(2)]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "open\n"
        done = []
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate()
            assert process.returncode == 0
            done += output.split()
        assert Counter(done) == Counter(ids)
        assert store.listen(0) is None
        assert store.usage().counts[State.COMPLETED] == 200
        assert all(store.get(one, "me").attempts == 1 for one in ids)


def test_two_stores_see_the_changes_of_the_other(path: Path) -> None:
    time = ManualTime()
    with open_store(path, time) as one, open_store(path, time) as two:
        first, second = add(one, 2)
        lease = two.lease()
        assert lease is not None
        assert one.get(first, "me").state is State.PROCESSING
        assert one.cancel(first, "me")[0].state is State.CANCELLED
        assert two.renew([lease]) == set()
        assert not two.complete(lease, b"result")
        lost = one.lease()
        assert lost is not None
        time.advance(LEASE)
        assert two.sweep().requeued == (second,)
        taken_over = two.lease()
        assert taken_over is not None
        assert not one.complete(lost, b"stale")
        assert two.complete(taken_over, b"result")
        assert one.result(second, "me").result == b"result"


def test_threads_share_a_store(path: Path) -> None:
    with open_store(path, max_queue=1000) as store:
        leased: list[str] = []

        def use() -> None:
            add(store, 25)
            while lease := store.lease():
                leased.append(lease.request_id)
                assert store.complete(lease, b"result")

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(leased)) == len(leased) == 100
        assert store.usage().counts[State.COMPLETED] == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_holds_no_lock_and_cannot_use_the_store(path: Path) -> None:
    read_end, write_end = os.pipe()
    stop_read, stop_write = os.pipe()
    store = open_store(path)
    (request_id,) = add(store)
    store.lease()
    child = os.fork()
    if not child:
        try:
            store.get(request_id, "me")
        except StoreError as error:
            os.write(write_end, str(error).encode())
        os.close(stop_write)
        os.read(stop_read, 1)
        os._exit(0)
    os.close(write_end)  # or the end of a child that fails would not be noticed
    try:
        assert b"a forked process must open it again" in os.read(read_end, 1000)
        store.close()
        with open_store(path) as again:
            assert again.get(request_id, "me").state is State.QUEUED, "the child does not count as a server"
    finally:
        os.close(stop_write)
        os.waitpid(child, 0)
        for end in (read_end, stop_read):
            os.close(end)


def test_a_full_disk_refuses_new_requests_and_loses_none(path: Path) -> None:
    with start(store_breaking.run_out_of_disk, path) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    message, count = output.splitlines()
    assert f"the request store {path}: " in message
    assert "free some space on its disk" in message
    with open_store(path) as store:
        counts = store.usage().counts
        assert counts[State.COMPLETED] == 1
        assert counts[State.QUEUED] == int(count) > 5


def test_a_full_sqlite_file_is_a_queue_full_error(path: Path) -> None:
    with open_store(path) as store:
        assert isinstance(store, SqliteStore)
        with store._database.transaction() as db:
            db.execute("PRAGMA max_page_count = 40")
        with pytest.raises(QueueFullError, match="no room for another request: .* free some space") as caught:
            add(store, 10, store_breaking.PHOTO)
        assert caught.value.retry_after == 30
        assert store.usage().counts[State.QUEUED] == len(drain(store)) == 1


def filled(path: Path) -> list[str]:
    with open_store(path) as store:
        return add(store, 40, store_breaking.PHOTO)


def garbage_at_the_start(path: Path) -> None:
    path.write_bytes(b"garbage!" * 512 + path.read_bytes()[4096:])


def flipped_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(1, 16):
        content[page * 4096 : page * 4096 + 64] = bytes(255 - byte for byte in content[page * 4096 : page * 4096 + 64])
    path.write_bytes(content)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def nearly_all_gone(path: Path) -> None:
    os.truncate(path, 60)


def another_text(path: Path) -> None:
    path.write_text("lines of text\n" * 1000)


@pytest.mark.parametrize(
    "damage", [garbage_at_the_start, flipped_pages, truncated, nearly_all_gone, another_text], ids=lambda f: f.__name__
)
def test_a_damaged_file_is_renamed_and_replaced_by_an_empty_one(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    (request_id, *_) = filled(path)
    damage(path)
    broken = path.read_bytes()
    with open_store(path) as store:
        with pytest.raises(NotFoundError):
            store.get(request_id, "me")
        add(store)
    (aside,) = [one for one in path.parent.glob("*.corrupt-*") if not one.name.endswith(("-wal", "-shm"))]
    assert aside.read_bytes() == broken
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert str(path) in record.getMessage()
    assert str(aside) in record.getMessage()
    with open_store(path) as store:
        assert store.usage().counts[State.QUEUED] == 1, "the new file is not damaged"


def test_a_damaged_file_that_another_process_has_open_is_refused(path: Path) -> None:
    filled(path)
    with open_store(path):
        flipped_pages(path)
        broken = path.read_bytes()
        with pytest.raises(StoreError, match="is damaged .* and another process has it open"):
            open_store(path)
        assert path.read_bytes() == broken
    assert not list(path.parent.glob("*.corrupt-*"))


def test_damage_found_while_running_is_an_error(path: Path) -> None:
    filled(path)
    with open_store(path) as store:
        flipped_pages(path)
        with pytest.raises(StoreError, match="it is damaged: restart the server, which renames it"):
            drain(store)


def test_the_folder_is_created(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "requests.db"
    with open_store(path) as store:
        (request_id,) = add(store)
    with open_store(path) as store:
        assert store.get(request_id, "me").state is State.QUEUED


def test_a_jump_of_the_wall_clock_while_running_has_no_effect(path: Path) -> None:
    time = ManualTime()
    begin = time.wall
    with open_store(path, time) as store:
        (first,) = add(store)
        late = store.add(b"task", owner="me", model="default", deadline=50).request_id
        for jump in (-1e6, 2e6):
            time.wall += jump
            time.steady += 1
            swept = store.sweep()
            assert (swept.late, swept.requeued, swept.expired) == ({}, (), ())
        lease = store.lease()
        assert lease is not None
        assert lease.started == begin + 2
        assert store.complete(lease, b"result")
        time.steady += RETENTION - 1
        assert store.sweep().late == {late: "me"}
        assert store.get(first, "me").state is State.COMPLETED
        time.steady += 1
        assert store.sweep().expired == (first,)


def test_times_are_corrected_if_the_wall_clock_was_set_back_between_two_runs(path: Path) -> None:
    time = ManualTime()
    with open_store(path, time) as store:
        done, late = add(store, 1)[0], store.add(b"task", owner="me", model="default", deadline=50).request_id
        lease = store.lease()
        assert lease is not None
        assert store.complete(lease, b"result")
    time.wall -= 1e6
    with open_store(path, time) as store:
        record = store.get(done, "me")
        assert (record.created, record.started, record.ended) == (time.wall,) * 3
        assert record.expires == time.wall + RETENTION
        assert store.get(late, "me").state is State.QUEUED
        time.steady += 50
        assert store.sweep().late == {late: "me"}
        time.steady += RETENTION - 50
        assert store.sweep().expired == (done,)


def test_a_server_with_another_wall_clock_takes_no_leases_from_the_first(path: Path) -> None:
    time = ManualTime()
    with open_store(path, time) as one:
        (request_id,) = add(one)
        lease = one.lease()
        assert lease is not None
        time.wall -= 1e6
        with open_store(path, time) as two:
            assert two.sweep().requeued == ()
            assert two.get(request_id, "me").state is State.PROCESSING
        assert one.complete(lease, b"result")
        assert one.result(request_id, "me").result == b"result"


def test_the_real_clock_is_steady(path: Path) -> None:
    with SqliteStore(path, StorePolicy(encode_error=encode_error)) as store:
        times = [store.clock.now() for _ in range(1000)]
        assert times == sorted(times)
        assert store.add(b"task", owner="me", model="default").created >= times[-1]
