"""Expiry and rotation of API keys, and key stores of the first version."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from automask.errors import ParameterError
from automask.service.config.locations import PostgresUrl
from automask.service.errors import NotFoundError, UnauthenticatedError
from automask.service.keys.factory import open_key_store
from automask.service.keys.key import Key, Secret
from automask.service.keys.protocol import KeyStore
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.postgres.schema import MIGRATIONS, migrate
from automask.service.server import Server
from support.postgres import Postgres
from support.threaded_server import serving, wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shelf" / "keys.sqlite3"


@pytest.fixture(params=["sqlite", "postgres"])
def keys(request: pytest.FixtureRequest, path: Path) -> Iterator[KeyStore]:
    location = path if request.param == "sqlite" else PostgresUrl(request.getfixturevalue("postgres").create_database())
    with closing(open_key_store(location, create=True)) as opened:
        yield opened


def refusal(keys: KeyStore, text: str) -> str:
    """Return why a key is refused; empty if it is not."""
    try:
        keys.authenticate(text)
    except UnauthenticatedError as error:
        return str(error)
    return ""


def test_a_key_works_until_it_expires(keys: KeyStore) -> None:
    guest, soon = keys.add("guest", expires_in=3600), keys.add("soon", expires_in=0.001)
    key = keys.authenticate(guest)
    assert key.expires == pytest.approx(key.created + 3600, abs=0.001)
    wait_until(lambda: refusal(keys, soon) != "")
    expired = datetime.fromtimestamp(keys.list()[1].expires or 0, UTC)
    assert refusal(keys, soon) == f"API key 'soon' expired on {expired:%Y-%m-%d %H:%M} UTC"
    assert not keys.verify("soon", "text", keys.sign("soon", "text"))
    renewed = keys.rotate("soon", expires_in=60)
    assert keys.authenticate(renewed).name == "soon"
    for wrong in (0, -1):
        with pytest.raises(ParameterError, match="expires must be more than 0 s"):
            keys.add("never", expires_in=wrong)


def test_a_rotated_key_has_a_new_secret_and_the_old_one_until_the_grace_ends(keys: KeyStore) -> None:
    texts = [keys.add("shop", credits=7, rate=Rate(10, "s"), models=["default"])]
    before = keys.authenticate(texts[0])
    signatures = [keys.sign("shop", "request")]
    for grace in (3600, 3600, 0):
        texts.append(keys.rotate("shop", grace=grace))
        signatures.append(keys.sign("shop", "request"))
        valid = texts[-2:] if grace else texts[-1:]
        assert [text for text in texts if not refusal(keys, text)] == valid
        assert [keys.verify("shop", "request", signature) for signature in signatures] == [
            text in valid for text in texts
        ]
    after = keys.authenticate(texts[-1])
    assert replace(after, old_secret_until=None) == before
    assert refusal(keys, texts[0]).startswith("invalid API key")
    assert refusal(keys, texts[-2]).startswith("API key 'shop' was rotated, and its old secret expired on 2")
    forged = f"{texts[-2][:12]}{texts[-1][12:]}"
    assert refusal(keys, forged).startswith("invalid API key")
    with pytest.raises(NotFoundError, match="no key named 'nobody'"):
        keys.rotate("nobody")
    with pytest.raises(ParameterError, match="grace must be 0 s or more"):
        keys.rotate("shop", grace=-1)


def test_a_file_of_the_first_version_is_migrated(path: Path) -> None:
    secret = Secret.generate()
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as old, old:  # what the first version wrote
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("PRAGMA application_id = 1634560889")
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "CREATE TABLE keys (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, credits INTEGER, "
            "rate TEXT, models TEXT NOT NULL, created REAL NOT NULL)"
        )
        old.execute("INSERT INTO keys VALUES (?, 'shop', ?, 3, '2/h', '[]', 5.0)", [secret.id, secret.digest])
    with closing(SqliteKeyStore(path)) as file:
        assert file.authenticate(str(secret)) == Key("shop", 3, Rate(2, "h"), (), 5.0)
        file.limiter("tasks").take("shop", Rate(2, "h"))
        assert file.charge("shop", 1) == 2
        assert file.authenticate(file.rotate("shop", grace=60)).name == "shop"
    with closing(SqliteKeyStore(path)) as again:
        assert again.authenticate(str(secret)).credits == 2


def test_a_database_of_the_first_version_is_migrated(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database(empty=True))
    secret = Secret.generate()
    with psycopg.connect(url.secret, autocommit=True, options="-c search_path=automask") as connection:
        migrate(connection, MIGRATIONS[:1])
        row = [secret.id, secret.digest]
        connection.execute("INSERT INTO keys VALUES (%s, 'shop', %s, 3, NULL, '[]', 5.0)", row)
    with closing(open_key_store(url)) as keys:
        assert keys.authenticate(str(secret)) == Key("shop", 3, None, (), 5.0)
        assert keys.authenticate(keys.rotate("shop", grace=60)).name == "shop"
        assert keys.authenticate(str(secret)).credits == 3


def test_two_servers_on_one_key_file_share_its_rate_and_refuse_an_expired_key(tmp_path: Path, jpeg: bytes) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path / "a", http_port=0, keys=tmp_path / "keys") as one,
        serving(tmp_path / "b", http_port=0, keys=tmp_path / "keys") as other,
    ):

        def call(server: Server, text: str) -> httpx.Response:
            url = f"http://{server.http_address}/v1/automatic-mask-generator"
            form = {"files": {"image": jpeg}, "data": {"prompt": "cup"}}
            return httpx.post(url, headers={"x-api-key": text}, timeout=60, **form)  # type: ignore[arg-type]

        limited = keys.add("limited", rate=Rate(3, "h"))
        assert [call(server, limited).status_code for server in (one, other) * 3] == [200] * 3 + [429] * 3
        expired = keys.add("expired", expires_in=0.001)
        wait_until(lambda: refusal(keys, expired) != "")
        refused = call(one, expired)
        assert (refused.status_code, refused.json()["error"]) == (401, refusal(keys, expired))
