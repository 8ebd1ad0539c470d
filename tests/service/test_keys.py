"""API keys, in SQLite and in PostgreSQL."""

import hmac
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automask.errors import ParameterError
from automask.service.config.locations import PostgresUrl
from automask.service.errors import (
    NotAllowedError,
    NotFoundError,
    OutOfCreditsError,
    StoreError,
    StoreUnavailableError,
    UnauthenticatedError,
)
from automask.service.keys.factory import open_key_store
from automask.service.keys.protocol import MAX_CREDITS, KeyStore
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore

CHARGER = """
import sys
from automask.service.errors import OutOfCreditsError
from automask.service.keys.factory import open_key_store
from automask.service.config.locations import parse_location

file = open_key_store(parse_location(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
taken = 0
try:
    while True:
        assert file.charge("shop", 3) >= 0
        taken += 3
except OutOfCreditsError:
    print(taken)
file.close()
"""
ADDER = """
import sys
from automask.service.keys.factory import open_key_store
from automask.service.config.locations import parse_location

print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    file = open_key_store(parse_location(sys.argv[1]), create=True)
    file.add(f"{sys.argv[2]}-{number}")
    file.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shelf" / "keys.sqlite3"


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, path: Path) -> Path | PostgresUrl:
    return path if request.param == "sqlite" else PostgresUrl(request.getfixturevalue("postgres").create_database())


@pytest.fixture
def keys(location: Path | PostgresUrl) -> Iterator[KeyStore]:
    with closing(open_key_store(location, create=True)) as opened:
        yield opened


@pytest.fixture
def file(path: Path) -> Iterator[SqliteKeyStore]:
    with closing(SqliteKeyStore(path, create=True)) as opened:
        yield opened


def location_text(location: Path | PostgresUrl) -> str:
    return location.secret if isinstance(location, PostgresUrl) else str(location)


def together(script: str, *arguments: list[str]) -> list[str]:
    """Run a script in several processes that start their work at the same time."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *those], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for those in arguments
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def test_a_key_has_its_permissions(keys: KeyStore) -> None:
    text = keys.add("shop.2_a-b", credits=5, rate=Rate(10, "s"), models=["default", "owner/name"])
    assert re.fullmatch(r"am_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", text)
    key = keys.authenticate(text)
    assert (key.name, key.credits, key.rate) == ("shop.2_a-b", 5, Rate(10, "s"))
    assert key.models == ("default", "owner/name")
    key.check_model("owner/name")
    with pytest.raises(
        NotAllowedError, match=r"'shop.2_a-b' is not allowed to use model 'sam', only 'default', 'owner/name'"
    ):
        key.check_model("sam")


def test_a_key_without_limits(keys: KeyStore) -> None:
    key = keys.authenticate(keys.add("free"))
    assert (key.credits, key.rate, key.models) == (None, None, ())
    key.check_model("anything")
    assert keys.charge("free", MAX_CREDITS) is None
    keys.refund("free", 1)
    assert keys.authenticate(keys.add("other")).name == "other"
    assert keys.list()[0] == key


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a/b", "ä", "a\n", "a'b"])
def test_invalid_names(keys: KeyStore, name: str) -> None:
    with pytest.raises(ParameterError, match="name must be 1 to 64 letters"):
        keys.add(name)
    assert not keys.list()


def test_invalid_values_of_a_new_key_are_named(keys: KeyStore) -> None:
    keys.add("shop")
    with pytest.raises(ParameterError, match="name must be unused by other keys, got 'shop'"):
        keys.add("shop")
    with pytest.raises(ParameterError, match="credits must be a whole number from 0 to 1000000000000, got -1"):
        keys.add("other", credits=-1)
    with pytest.raises(ParameterError, match="models must be a sequence of names, got 'default'"):
        keys.add("other", models="default")
    with pytest.raises(ParameterError, match="models must be a sequence of names, got "):
        keys.add("other", models=["default", ""])
    assert [key.name for key in keys.list()] == ["shop"]


def test_missing_and_wrong_keys_have_different_errors_without_the_key(keys: KeyStore) -> None:
    good = keys.add("shop")
    other = keys.add("other")
    for missing in (None, ""):
        with pytest.raises(UnauthenticatedError, match="send it as x-api-key"):
            keys.authenticate(missing)
    wrong = [
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good[:12] + other[12:],  # one key's id, another's secret
        "am_00000000_" + good[12:],
        good[3:],
        good + "\n",
        good.upper(),
        "Bearer " + good,
        "schlüssel",
        "\udc80",
        "x" * 100_000,
    ]
    for text in wrong:
        with pytest.raises(UnauthenticatedError, match="invalid API key") as caught:
            keys.authenticate(text)
        assert text[12:] not in str(caught.value) or not text[12:]
    assert keys.authenticate(good).name == "shop"


def test_known_and_unknown_ids_cost_the_same_comparison(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    original: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def watching(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watching)
    good = keys.add("shop")
    keys.authenticate(good)
    for text in (good[:-2] + "xx", "am_00000000_" + good[12:], "nonsense"):
        with pytest.raises(UnauthenticatedError):
            keys.authenticate(text)
    assert [(len(one), len(other)) for one, other in compared] == [(32, 32)] * 4


def test_the_secret_is_not_in_the_file(file: SqliteKeyStore, path: Path) -> None:
    text = file.add("shop", credits=3)
    file.charge("shop", 1)
    stored = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert text[3:11].encode() in stored
    assert text[12:].encode() not in stored
    assert text[12:30].encode() not in stored
    assert all(text not in repr(key) and text[12:] not in repr(key) for key in file.list())


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_only_the_owner_can_read_the_file(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(SqliteKeyStore(path, create=True)) as file:
            file.add("shop")
            modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3  # the file, its WAL and the index of the WAL


def test_changes_of_other_processes_take_effect_at_once(keys: KeyStore, location: Path | PostgresUrl) -> None:
    shop, other = keys.add("shop", credits=1), keys.add("other")
    with closing(open_key_store(location)) as admin:
        admin.set_credits("shop", 7)
        assert keys.authenticate(shop).credits == 7
        new = admin.add("new", models=["default"])
        assert keys.authenticate(new).models == ("default",)
        admin.remove("shop")
        with pytest.raises(UnauthenticatedError, match="was removed"):
            keys.authenticate(shop)
        with pytest.raises(UnauthenticatedError, match="'shop' was removed"):
            keys.charge("shop", 1)
        keys.refund("shop", 1)
        again = admin.add("shop")
        with pytest.raises(UnauthenticatedError):
            keys.authenticate(shop)
        assert keys.authenticate(again).name == "shop"
        assert keys.authenticate(other).name == "other"


def test_an_unknown_key_cannot_be_changed(keys: KeyStore) -> None:
    for change in (
        lambda: keys.remove("shop"),
        lambda: keys.set_credits("shop", 1),
        lambda: keys.top_up("shop", 1),
    ):
        with pytest.raises(NotFoundError, match="no key named 'shop'; `automask keys list` shows"):
            change()


def test_credits_run_out_and_can_be_added(keys: KeyStore) -> None:
    keys.add("shop", credits=5)
    assert keys.charge("shop", 3) == 2
    with pytest.raises(OutOfCreditsError, match="'shop' has 2 credits left, but this request costs 3"):
        keys.charge("shop", 3)
    assert keys.charge("shop", 2) == 0
    assert keys.charge("shop", 0) == 0
    assert keys.top_up("shop", 4) == 4
    keys.refund("shop", 2)
    assert keys.charge("shop", 6) == 0
    for count in (-1, MAX_CREDITS + 1):
        with pytest.raises(ParameterError, match="credits must be"):
            keys.charge("shop", count)
        with pytest.raises(ParameterError, match="credits must be"):
            keys.refund("shop", count)
    keys.set_credits("shop", MAX_CREDITS)
    with pytest.raises(ParameterError, match="got 1000000000001"):
        keys.top_up("shop", 1)
    assert keys.list()[0].credits == MAX_CREDITS
    keys.set_credits("shop", None)
    with pytest.raises(ParameterError, match="name must be a key with limited credits, got 'shop'"):
        keys.top_up("shop", 1)


@given(
    st.integers(0, 20),
    st.lists(
        st.tuples(st.sampled_from(["charge", "refund", "top_up", "set_credits"]), st.integers(0, 12)), max_size=12
    ),
)
def test_credits_add_up(start: int, steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(SqliteKeyStore(Path(folder, "keys"), create=True)) as file:
        text = file.add("shop", credits=start)
        purse = start
        for what, count in steps:
            try:
                getattr(file, what)("shop", count)
            except OutOfCreditsError:
                assert what == "charge"
                assert count > purse
                continue
            purse = count if what == "set_credits" else purse - count if what == "charge" else purse + count
            assert file.authenticate(text).credits == purse >= 0


def test_concurrent_processes_charge_exactly_the_credits(keys: KeyStore, location: Path | PostgresUrl) -> None:
    keys.add("shop", credits=1000)
    taken = [int(output) for output in together(CHARGER, [location_text(location)], [location_text(location)])]
    assert sum(taken) == 999
    assert keys.list()[0].credits == 1


def test_concurrent_threads_charge_exactly_the_credits(keys: KeyStore) -> None:
    keys.add("shop", credits=50)

    def charge(_: int) -> bool:
        try:
            keys.charge("shop", 1)
        except OutOfCreditsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(charge, range(80))) == 50
    assert keys.list()[0].credits == 0


def test_concurrent_processes_create_one_store(location: Path | PostgresUrl) -> None:
    together(ADDER, *([location_text(location), name] for name in ("a", "b", "c")))
    with closing(open_key_store(location)) as keys:
        assert len(keys.list()) == 30


def test_a_missing_file_is_named_with_the_command_that_creates_it(path: Path) -> None:
    with pytest.raises(
        StoreError, match=f"no key file {re.escape(str(path))}; create it with `automask keys add NAME --keys "
    ) as caught:
        SqliteKeyStore(path)
    assert not path.parent.exists()
    assert isinstance(caught.value, OSError)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (id)")
        connection.commit()


def foreign_and_in_use(path: Path) -> None:
    with closing(sqlite3.connect(path.with_name("theirs"))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE photos (id)")
        connection.commit()
        path.with_name("keys-wal").write_bytes(path.with_name("theirs-wal").read_bytes())
        path.write_bytes(path.with_name("theirs").read_bytes())


def newer(path: Path) -> None:
    SqliteKeyStore(path, create=True).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")


def damage(path: Path, old: bytes, new: bytes) -> None:
    with closing(SqliteKeyStore(path, create=True)) as file:
        for number in range(200):
            file.add(f"key-{number}")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"not a database " * 100), "file is not a database"),
        (Path.touch, "is not an automask key file"),
        (lambda path: path.write_bytes(b"SQLite format 3\0"), "file is not a database"),
        (foreign, "is not an automask key file"),
        (foreign_and_in_use, "is not an automask key file"),
        (newer, "has schema version 3; this automask reads at most version 2"),
        (lambda path: damage(path, b"CREATE TABLE", b"create Fable"), "malformed"),
        (lambda path: damage(path, b"key-150", b"key-15x"), "is damaged: row .* missing from index"),
        (lambda path: damage(path, b"CREATE TABLE", b"CREATE \xffABLE"), "cannot be used"),
        (lambda path: damage(path, b"[]", b"[}"), "is damaged: Expecting value"),
        (lambda path: path.mkdir(), "must be a regular file or a new one, but is a folder"),
        (os.mkfifo, "must be a regular file or a new one, but is a pipe"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_an_invalid_file_is_left_unchanged(
    tmp_path: Path, spoil: Callable[[Path], object], message: str, *, create: bool
) -> None:
    path = tmp_path / "keys"
    spoil(path)
    before = {each: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    with pytest.raises(StoreError, match=message) as caught:
        SqliteKeyStore(path, create=create)
    assert str(path) in str(caught.value)
    assert {each: each.read_bytes() for each in before} == before


def test_no_temporary_files_remain(tmp_path: Path) -> None:
    path = tmp_path / "with ? and #.sqlite3"
    with closing(SqliteKeyStore(path, create=True)) as file:
        file.add("shop")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_an_impossible_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteKeyStore(tmp_path / "file" / "keys", create=True)


def test_a_replaced_file_authenticates_nobody(file: SqliteKeyStore, path: Path) -> None:
    text = file.add("shop")
    aside = path.rename(path.with_name("aside"))
    with pytest.raises(StoreUnavailableError, match="was moved or replaced while in use; put it back, or restart"):
        file.authenticate(text)
    foreign(path)
    with pytest.raises(StoreUnavailableError, match="was moved or replaced while in use; put it back, or restart"):
        file.authenticate(text)
    aside.replace(path)
    assert file.authenticate(text).name == "shop"


def test_a_closed_store_raises(location: Path | PostgresUrl) -> None:
    keys = open_key_store(location, create=True)
    keys.close()
    keys.close()
    with pytest.raises(StoreError, match="closed"):
        keys.list()
