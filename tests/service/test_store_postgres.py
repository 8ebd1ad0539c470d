"""The request store in PostgreSQL: what is its own, and what befalls a database."""

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
from automask.service.store.protocol import Store
from automask.service.wire.status import row_of
from support.postgres import Postgres
from support.stores import RETENTION, Hands, add, encode_error, open_store, taken

LARGE = b"PHOTO" * 2000


@pytest.fixture
def url(postgres: Postgres) -> PostgresUrl:
    return PostgresUrl(postgres.create_database())


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def store(url: PostgresUrl, hands: Hands, media: Path) -> Iterator[Store]:
    with open_store(url, hands, str(media)) as store:
        yield store


def name_of(url: PostgresUrl) -> str:
    return str(url).rpartition("/")[2]


def test_processes_share_the_work_and_none_gets_the_others(url: PostgresUrl) -> None:
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
        done, working = taken(store), taken(store)
        assert store.complete(done, b"result")
        with postgres.stopped():
            for ask in (lambda: store.get(first, "me"), lambda: store.complete(working, b"later"), store.lease):
                with pytest.raises(
                    StoreError, match=f"the database postgresql://127.0.0.1:{postgres.port}/.* is unavailable"
                ) as caught:
                    ask()
                assert isinstance(caught.value, UnavailableError)
                assert row_of(caught.value).http == 502
                assert caught.value.retry_after == 2
                assert "never-shown" not in str(caught.value)
            with pytest.raises(UnavailableError):
                store.listen(60)
        assert store.listen(0) is None, "what happened meanwhile is not known"
        assert store.result(first, "me").result == b"result"
        assert store.complete(working, b"later")
        assert store.result(second, "me").result == b"later"
        assert taken(store).request_id == third


def test_a_restart_between_two_calls_is_not_even_noticed(postgres: Postgres, url: PostgresUrl) -> None:
    with open_store(url) as store, ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda number: add(store, bytes([number])), range(20)))
        with postgres.stopped():
            pass
        assert sorted(taken(store).request_id for _ in ids) == sorted(ids)


@pytest.mark.parametrize("end", ["complete", "cancel", "add"])
def test_what_was_done_though_nobody_heard_is_told_as_done(
    url: PostgresUrl, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
            lease = taken(store)
            monkeypatch.setattr(psycopg.Connection, "transaction", breaking)
            assert store.complete(lease, b"result") if end == "complete" else store.cancel(request_id, "me")[1]
            assert not store.complete(lease, b"result")
            assert not store.cancel(request_id, "me")[1]
    assert broken


def test_large_photos_and_results_lie_outside_and_are_private(
    store: Store, url: PostgresUrl, postgres: Postgres, media: Path, hands: Hands
) -> None:
    large, small, cancelled = add(store, LARGE), add(store, b"small"), add(store, b"other" + LARGE)
    assert sorted(file.read_bytes() for file in media.iterdir()) == sorted([LARGE, b"other" + LARGE])
    lease = taken(store)
    assert lease.task == LARGE
    assert store.complete(lease, b"RESULT" * 1000)
    store.cancel(cancelled, "me")
    assert store.complete(taken(store), b"small")
    store.sweep()
    assert [file.read_bytes() for file in media.iterdir()] == [b"RESULT" * 1000], "photos are dropped at once"
    assert store.result(large, "me").result == b"RESULT" * 1000
    assert store.result(small, "me").result == b"small"
    hands.advance(RETENTION)
    store.sweep()
    assert not list(media.iterdir())
    assert postgres.execute("SELECT count(*) FROM automask.objects", name_of(url)) == [(0,)]


def test_what_was_written_and_never_used_is_collected_and_what_is_used_never(
    store: Store, media: Path, hands: Hands
) -> None:
    used = add(store, LARGE, idempotency_key="key")
    late = taken(store)
    store.cancel(used, "me")
    assert not store.complete(late, LARGE), "written for nothing"
    waiting = add(store, LARGE)
    store.sweep()
    assert len(list(media.iterdir())) == 2, "it could still be on its way into the database"
    hands.advance(3600)
    store.sweep()
    assert len(list(media.iterdir())) == 1
    lease = taken(store)
    assert (lease.request_id, lease.task) == (waiting, LARGE)


def test_an_object_that_is_gone_fails_its_request_alone(store: Store, media: Path) -> None:
    gone, there = add(store, LARGE), add(store, b"small")
    (photo,) = media.iterdir()
    photo.unlink()
    lease = taken(store)
    assert lease.problem is not None
    assert f"request {gone} cannot be worked on: its object {photo.name} is gone from {media}" in str(lease.problem)
    assert store.fail(lease, lease.problem)
    lease = taken(store)
    assert lease.request_id == there
    assert store.complete(lease, LARGE)
    (result,) = media.iterdir()
    result.unlink()
    with pytest.raises(StoreError, match=f"its object {result.name} is gone"):
        store.result(there, "me")
    assert store.get(there, "me").state is State.COMPLETED


def test_media_that_are_away_cost_no_request(store: Store, media: Path) -> None:
    request_id = add(store, LARGE)
    (photo,) = media.iterdir()
    aside = photo.rename(media.with_name("aside"))
    photo.mkdir()  # it can be read no more, as where a network share is gone
    with pytest.raises(UnavailableError, match="cannot be used"):
        store.lease()
    photo.rmdir()
    aside.rename(photo)
    lease = taken(store)
    assert (lease.request_id, lease.attempts, lease.task) == (request_id, 1, LARGE)


def test_media_that_cannot_be_are_named(url: PostgresUrl, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="media must be a folder or a URL such as s3://bucket/prefix"):
        open_store(url, media="nonsense://bucket")
    with pytest.raises(MissingDependencyError, match="s3fs"):
        open_store(url, media="s3://bucket/prefix")
    with pytest.raises(ParameterError, match="media must come with a store in PostgreSQL, got 'media'"):
        open_store(tmp_path / "requests.db", media="media")


def test_without_what_speaks_to_it_one_is_told_what_to_install(
    url: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for open_it in (open_store, open_key_store):
        with pytest.raises(MissingDependencyError, match=r"pip install 'automask\[postgres\]'"):
            open_it(url)


def test_several_servers_make_the_tables_at_once(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database(empty=True))
    with ThreadPoolExecutor(8) as pool:
        for store in pool.map(lambda _: open_store(url), range(8)):
            store.close()
    assert postgres.execute("SELECT version FROM automask.version", name_of(url)) == [(len(MIGRATIONS),)]


def test_migration_takes_only_the_missing_steps_and_all_or_none(postgres: Postgres) -> None:
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


def test_the_schema_of_somebody_else_is_left_alone(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database(empty=True))
    for statement in ("CREATE SCHEMA automask", "CREATE TABLE automask.masks (id integer)"):
        postgres.execute(statement, name_of(url))
    with pytest.raises(StoreError, match="the schema automask must be automask's own, but holds the tables masks"):
        open_store(url)


def test_what_is_wrong_at_the_start_is_named_without_the_password(postgres: Postgres, url: PostgresUrl) -> None:
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
    ],
)
def test_a_password_that_cuts_the_url_in_two_is_not_repeated(secret: str) -> None:
    with pytest.raises(ParameterError, match="store must be a path or a URL such as postgresql://user:") as caught:
        load_settings(store=secret)
    assert "12" not in str(caught.value)


def test_the_clock_is_the_database_s_and_is_set_anew_with_each_connection(postgres: Postgres, url: PostgresUrl) -> None:
    ask = "SELECT extract(epoch FROM clock_timestamp())::float8"
    with factory.open_store(url, StorePolicy(encode_error=encode_error)) as store:
        store.clock.set(0.0)
        with postgres.stopped():
            pass
        ((before,),) = postgres.execute(ask)
        created = store.get(add(store), "me").created
        assert before - 1 <= created <= postgres.execute(ask)[0][0] + 1
