"""The request store in PostgreSQL: restarts of the database, media, migration, secrets."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automask.errors import MissingDependencyError, ParameterError
from automask.service.config.locations import PostgresUrl
from automask.service.config.settings import load_settings
from automask.service.errors import StoreError, UnavailableError
from automask.service.keys.factory import open_key_store
from automask.service.postgres import database
from automask.service.postgres.database import connect
from automask.service.postgres.schema import MIGRATIONS, migrate
from automask.service.states import State
from automask.service.store import factory
from automask.service.store.policy import StorePolicy
from automask.service.store.postgres.store import PostgresStore
from automask.service.store.protocol import Store
from automask.service.wire.status import row_of
from support.postgres import Postgres
from support.stores import RETENTION, ManualTime, add, encode_error, lease_next, open_store

LARGE = b"PHOTO" * 2000


@pytest.fixture
def url(postgres: Postgres) -> PostgresUrl:
    return PostgresUrl(postgres.create_database())


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def store(url: PostgresUrl, time: ManualTime, media: Path) -> Iterator[Store]:
    with open_store(url, time, str(media)) as store:
        yield store


def name_of(url: PostgresUrl) -> str:
    return str(url).rpartition("/")[2]


def test_two_processes_complete_each_request_once(url: PostgresUrl) -> None:
    with open_store(url, max_queue=1000) as store:
        ids = [add(store, str(number).encode()) for number in range(100)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "support.store_breaking", "work", url.secret],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "open\n"
        done = [line for output in (process.communicate("\n")[0] for process in processes) for line in output.split()]
        assert Counter(done) == Counter(ids)
        assert all(store.get(one, "me").attempts == 1 for one in ids)


def test_a_restart_of_the_database_loses_nothing(
    postgres: Postgres, url: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_POOL_TIMEOUT", 0.2)
    with open_store(url) as store:
        assert store.listen(0) is None
        first, second, third = add(store, b"1"), add(store, b"2"), add(store, b"3")
        done, working = lease_next(store), lease_next(store)
        assert store.complete(done, b"result")
        with postgres.stopped():
            for call in (lambda: store.get(first, "me"), lambda: store.complete(working, b"later"), store.lease):
                with pytest.raises(
                    StoreError, match=f"the database postgresql://127.0.0.1:{postgres.port}/.* is unavailable"
                ) as caught:
                    call()
                assert isinstance(caught.value, UnavailableError)
                assert row_of(caught.value).http == 502
                assert caught.value.retry_after == 2
                assert "never-shown" not in str(caught.value)
            with pytest.raises(UnavailableError):
                store.listen(60)
        assert isinstance(store, PostgresStore)
        store._database._pool.timeout = 60  # seconds; on a busy machine, a connection takes longer than 0.2 s
        assert store.listen(0) is None, "changes in between are not known"
        assert store.result(first, "me").result == b"result"
        assert store.complete(working, b"later")
        assert store.result(second, "me").result == b"later"
        assert lease_next(store).request_id == third


def test_a_restart_between_two_calls_causes_no_error(postgres: Postgres, url: PostgresUrl) -> None:
    with open_store(url) as store, ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda number: add(store, bytes([number])), range(20)))
        with postgres.stopped():
            pass
        assert sorted(lease_next(store).request_id for _ in ids) == sorted(ids)


@pytest.mark.parametrize("end", ["complete", "cancel", "add"])
def test_a_commit_whose_answer_is_lost_counts(url: PostgresUrl, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after COMMIT, before its answer."""
    whole = psycopg.Connection.transaction
    broken: list[str] = []

    @contextmanager
    def breaking(self: psycopg.Connection) -> Iterator[psycopg.Transaction]:
        with whole(self) as transaction:
            yield transaction
        if not broken:
            broken.append("once")
            self.close()
            raise psycopg.OperationalError("the connection was lost")

    with open_store(url) as store:
        if end == "add":
            monkeypatch.setattr(psycopg.Connection, "transaction", breaking)
            add(store, idempotency_key="key")
            assert store.usage().counts[State.QUEUED] == 1
        else:
            request_id = add(store)
            lease = lease_next(store)
            monkeypatch.setattr(psycopg.Connection, "transaction", breaking)
            assert store.complete(lease, b"result") if end == "complete" else store.cancel(request_id, "me")[1]
            assert not store.complete(lease, b"result")
            assert not store.cancel(request_id, "me")[1]
    assert broken


def test_large_photos_and_results_are_stored_as_media_and_deleted(
    store: Store, url: PostgresUrl, postgres: Postgres, media: Path, time: ManualTime
) -> None:
    large, small, cancelled = add(store, LARGE), add(store, b"small"), add(store, b"other" + LARGE)
    assert sorted(file.read_bytes() for file in media.iterdir()) == sorted([LARGE, b"other" + LARGE])
    assert media.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in media.iterdir()} == {0o600}
    lease = lease_next(store)
    assert lease.task == LARGE
    assert store.complete(lease, b"RESULT" * 1000)
    store.cancel(cancelled, "me")
    assert store.complete(lease_next(store), b"small")
    store.sweep()
    assert [file.read_bytes() for file in media.iterdir()] == [b"RESULT" * 1000], "photos are deleted at once"
    assert store.result(large, "me").result == b"RESULT" * 1000
    assert store.result(small, "me").result == b"small"
    time.advance(RETENTION)
    store.sweep()
    assert not list(media.iterdir())
    assert postgres.execute("SELECT count(*) FROM automask.objects", name_of(url)) == [(0,)]


def test_unused_media_are_deleted_after_an_hour_and_used_ones_are_kept(
    store: Store, media: Path, time: ManualTime
) -> None:
    used = add(store, LARGE, idempotency_key="key")
    late = lease_next(store)
    store.cancel(used, "me")
    assert not store.complete(late, LARGE), "written but not used"
    waiting = add(store, LARGE)
    store.sweep()
    assert len(list(media.iterdir())) == 2, "a transaction could still refer to it"
    time.advance(3600)
    store.sweep()
    assert len(list(media.iterdir())) == 1
    lease = lease_next(store)
    assert (lease.request_id, lease.task) == (waiting, LARGE)


def test_a_deleted_object_fails_only_its_request(store: Store, media: Path) -> None:
    gone, there = add(store, LARGE), add(store, b"small")
    (photo,) = media.iterdir()
    photo.unlink()
    lease = lease_next(store)
    assert lease.problem is not None
    assert f"request {gone} cannot be worked on: its object {photo.name} is gone from {media}" in str(lease.problem)
    assert store.fail(lease, lease.problem)
    lease = lease_next(store)
    assert lease.request_id == there
    assert store.complete(lease, LARGE)
    (result,) = media.iterdir()
    result.unlink()
    with pytest.raises(StoreError, match=f"its object {result.name} is gone"):
        store.result(there, "me")
    assert store.get(there, "me").state is State.COMPLETED


def test_unavailable_media_fail_no_request(store: Store, media: Path) -> None:
    request_id = add(store, LARGE)
    (photo,) = media.iterdir()
    aside = photo.rename(media.with_name("aside"))
    photo.mkdir()  # cannot be read, like a file on a network share that is gone
    with pytest.raises(UnavailableError, match="cannot be used"):
        store.lease()
    photo.rmdir()
    aside.rename(photo)
    lease = lease_next(store)
    assert (lease.request_id, lease.attempts, lease.task) == (request_id, 1, LARGE)


def test_invalid_media_locations_are_errors(url: PostgresUrl, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="media must be a folder or a URL such as s3://bucket/prefix"):
        open_store(url, media="nonsense://bucket")
    with pytest.raises(MissingDependencyError, match="s3fs"):
        open_store(url, media="s3://bucket/prefix")
    with pytest.raises(ParameterError, match="media must come with a store in PostgreSQL, got 'media'"):
        open_store(tmp_path / "requests.db", media="media")


def test_without_the_driver_the_error_names_the_extra_to_install(
    url: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for open_it in (open_store, open_key_store):
        with pytest.raises(MissingDependencyError, match=r"pip install 'automask\[postgres\]'"):
            open_it(url)


def test_concurrent_servers_create_the_tables_once(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database(empty=True))
    with ThreadPoolExecutor(8) as pool:
        for store in pool.map(lambda _: open_store(url), range(8)):
            store.close()
    assert postgres.execute("SELECT version FROM automask.version", name_of(url)) == [(len(MIGRATIONS),)]


def test_migration_runs_the_missing_steps_all_or_none(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database(empty=True))
    first, second = ["CREATE TABLE one (a integer)"], ["ALTER TABLE one ADD b integer", "INSERT INTO one VALUES (1, 2)"]
    with closing(connect(url)) as connection:
        migrate(connection, [first])
        with pytest.raises(psycopg.errors.UndefinedTable):
            migrate(connection, [first, [*second, "INSERT INTO missing VALUES (1)"]])
        assert connection.execute("SELECT * FROM one").fetchall() == []
        for _ in range(2):
            migrate(connection, [first, second])
        assert connection.execute("SELECT * FROM one").fetchall() == [(1, 2)]
        with pytest.raises(StoreError, match="must be at most 1, got 2"):
            migrate(connection, [first])


def test_a_schema_with_other_tables_is_refused(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database(empty=True))
    for statement in ("CREATE SCHEMA automask", "CREATE TABLE automask.masks (id integer)"):
        postgres.execute(statement, name_of(url))
    with pytest.raises(StoreError, match="the schema automask must be automask's own, but holds the tables masks"):
        open_store(url)


def test_errors_at_the_start_name_the_database_without_the_password(postgres: Postgres, url: PostgresUrl) -> None:
    postgres.execute("CREATE ROLE guest LOGIN", name_of(url))
    bare = PostgresUrl(postgres.create_database(empty=True))
    cases = {
        url.secret.replace(str(postgres.port), "1"): "127.0.0.1:1/test_",
        postgres.url("nowhere"): 'database "nowhere" does not exist',
        postgres.url(name_of(url), "guest"): "permission denied for schema automask",
        postgres.url(name_of(bare), "guest"): "permission denied for database",
    }
    for secret, message in cases.items():
        with pytest.raises(StoreError, match=message) as caught:
            open_store(PostgresUrl(secret))
        assert str(PostgresUrl(secret)) in str(caught.value)
        assert "never-shown" not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("postgresql://me:pw-12@db.example:5433/masks?sslmode=require", "postgresql://db.example:5433/masks"),
        ("postgres:///masks?host=/run/postgresql&password=pw-12", "postgresql:///masks"),
        ("postgresql://me:pw-12@one:1,two:2/masks", "postgresql://one:1,two:2/masks"),
    ],
)
def test_a_password_is_never_shown(secret: str, shown: str) -> None:
    url = PostgresUrl(secret)
    assert (str(url), repr(url)) == (shown, f"PostgresUrl({shown!r})")
    settings = load_settings(store=secret)
    assert settings.store == url
    assert "pw-12" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://me:pw/12@host/db",
        "postgresql://me:pw?12@host/db",
        "postgresql://me:pw#12@host/db",
        "postgresql://me:[pw12@host/db",
        "postgresql://me:pw 12@host/db",
        "postgresql://me:pw@12@host/db",
        "postgresql://me:pw%12xyz%zz@host/db",
        "postgresql://me:pw12",
        "postgresql://host/db?password=pw&12",
    ],
)
def test_a_password_that_breaks_the_url_is_not_shown(secret: str) -> None:
    with pytest.raises(ParameterError, match="store must be a path or a URL such as postgresql://user:") as caught:
        load_settings(store=secret)
    assert "12" not in str(caught.value)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), st.booleans())
@settings(deadline=None)
def test_no_part_of_any_password_is_shown(middle: str, as_parameter: bool) -> None:
    password = f"FIRST{middle}SECOND"
    secret = (
        f"postgresql://127.0.0.1:1/masks?password={password}"
        if as_parameter
        else f"postgresql://me:{password}@127.0.0.1:1/masks"
    )
    with pytest.raises((ParameterError, StoreError)) as caught:
        open_store(PostgresUrl(secret))
    assert "FIRST" not in str(caught.value)
    assert "SECOND" not in str(caught.value)


def test_the_clock_is_the_databases_and_is_set_with_each_connection(postgres: Postgres, url: PostgresUrl) -> None:
    query = "SELECT extract(epoch FROM clock_timestamp())::float8"
    with factory.open_store(url, StorePolicy(encode_error=encode_error)) as store:
        store.clock.set(0.0)
        with postgres.stopped():
            pass
        ((before,),) = postgres.execute(query)
        created = store.get(add(store), "me").created
        assert before - 1 <= created <= postgres.execute(query)[0][0] + 1
