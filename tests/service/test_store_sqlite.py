"""The request store in an SQLite file: disk, privacy, settings, migration."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from automask.service.errors import QueueFullError
from automask.service.states import State
from automask.service.store.protocol import Store
from automask.service.store.sqlite import submissions
from automask.service.store.sqlite.schema import MIGRATIONS, migrate
from automask.service.store.sqlite.store import SqliteStore
from support.stores import RETENTION, ManualTime, add, lease_next, open_store


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.db"


@pytest.fixture
def store(path: Path, time: ManualTime) -> Iterator[Store]:
    with open_store(path, time) as store:
        yield store


def test_the_disk_in_use_stays_below_the_limit(path: Path, time: ManualTime) -> None:
    limit = 2 << 20
    with open_store(path, time, max_bytes=limit) as store:
        while store.usage().size + 100_000 <= limit:
            add(store, bytes(100_000))
        with pytest.raises(QueueFullError, match=r"no room for 100,000 bytes, .* in use \(limit 2,097,152\)"):
            add(store, bytes(100_000))
        assert sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) < limit + 200_000
        while lease := store.lease():
            store.complete(lease, b"")
        time.advance(RETENTION)
        store.sweep()
        assert sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) < 200_000
        add(store, bytes(100_000))


def test_a_disk_that_is_nearly_full_refuses_new_requests(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "_SPARE_SHARE", 1)
    monkeypatch.setattr(submissions, "_SPARE_BYTES", 1 << 62)
    with pytest.raises(QueueFullError, match="are free, of which .* are reserved for results") as caught:
        add(store)
    assert caught.value.retry_after == 30
    assert sum(store.usage().counts.values()) == 0


def test_photos_and_results_are_private(path: Path, time: ManualTime) -> None:
    photo, result = b"PHOTO" * 2000, b"RESULT" * 2000
    with open_store(path, time) as store:
        request_id = add(store, photo)
        other = add(store, b"cancelled" + photo)
        store.complete(lease_next(store), result)
        store.cancel(other, "me")
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM tasks").fetchone() == (0,), "deleted at once"
        store.sweep()
        assert b"PHOTOPHOTO" not in everything(path)
        assert b"RESULTRESULT" in everything(path)
        time.advance(RETENTION)
        assert store.sweep().expired == (request_id, other)
        assert b"RESULTRESULT" not in everything(path)
    assert path.stat().st_mode & 0o077 == 0


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_the_settings_of_sqlite(store: Store) -> None:
    add(store)
    assert isinstance(store, SqliteStore)
    with store._database.transaction() as db:
        found = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "secure_delete")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2, "secure_delete": 1}


def test_a_file_of_the_first_version_is_migrated_with_its_requests(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        migrate(old, MIGRATIONS[:1])
        old.execute(
            "INSERT INTO requests (id, owner, model, state, position, digest, created) "
            "VALUES ('one', 'me', 'default', 'QUEUED', 1, x'00', 5.0)"
        )
        old.execute("INSERT INTO tasks VALUES ('one', x'01')")
    with open_store(path) as store:
        lease = lease_next(store)
        assert (lease.request_id, lease.task, lease.attempts) == ("one", b"\1", 1)
        assert store.put_back(lease) is State.QUEUED


def test_migration_runs_the_missing_steps_all_or_none() -> None:
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
