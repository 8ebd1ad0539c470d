"""`automask keys`."""

import json
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automask.service.cli.keys import keys
from automask.service.errors import StoreError, UnauthenticatedError
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore
from support.postgres import Postgres
from support.threaded_server import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shelf" / "keys.sqlite3"


def command(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(keys, arguments, env={"AUTOMASK_KEYS": str(path)})


def test_add_list_credits_and_remove(path: Path) -> None:
    added = command(path, "add", "shop", "--credits", "3", "--rate", "10/s", "--models", "a, b", "--models", "c/d")
    assert added.exit_code == 0
    assert "only this once" in added.stderr
    text = added.stdout.removesuffix("\n")
    with closing(SqliteKeyStore(path)) as file:
        key = file.authenticate(text)
        assert (key.name, key.credits, key.rate, key.models) == ("shop", 3, Rate(10, "s"), ("a", "b", "c/d"))
        assert command(path, "credits", "shop", "+5").stdout == "8\n"
        assert file.authenticate(text).credits == 8
        assert command(path, "credits", "shop", "2").stdout == "2\n"
        assert file.authenticate(text).credits == 2
        (listed,) = json.loads(command(path, "list", "--json").stdout)
        assert listed == {
            "name": "shop", "credits": 2, "rate": "10/s", "models": ["a", "b", "c/d"], "created": key.created,
            "expires": None, "old_secret_until": None,
        }  # fmt: skip
        assert command(path, "credits", "shop", "unlimited").stdout == "unlimited\n"
        assert file.authenticate(text).credits is None
        shown = command(path, "list").stdout
        assert "shop\n  credits  no limit\n  rate     10/s\n  models   a, b, c/d\n" in shown
        removed = command(path, "remove", "shop")
        assert (removed.exit_code, removed.stdout) == (0, "")
        with pytest.raises(UnauthenticatedError):
            file.authenticate(text)
        assert json.loads(command(path, "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "a b"], "name must be 1 to 64 letters"),
        (["add", "shop"], "name must be unused by other keys"),
        (["add", "new", "--rate", "often"], "Invalid value for '--rate': must be a whole number from 1"),
        (["add", "new", "--expires", "soon"], "Invalid value for '--expires': must be a duration"),
        (["add", "new", "--expires", "0s"], "expires must be more than 0 s, got 0.0"),
        (["rotate", "shop", "--grace", "-1s"], "Invalid value for '--grace': must be a duration"),
        (["add", "new", "--credits", "-1"], "'--credits'"),
        (["add", "new", "--models", "a,,b"], "models must be a sequence of names"),
        (["credits", "shop", "many"], "N must be a whole number, +N or unlimited, got 'many'"),
        (["credits", "shop", "1000000000001"], "credits must be a whole number from 0"),
        (["credits", "shop", "+1"], "name must be a key with limited credits"),
    ],
)
def test_wrong_usage_is_exit_status_2(path: Path, arguments: list[str], message: str) -> None:
    with closing(SqliteKeyStore(path, create=True)) as file:
        file.add("shop")
    done = command(path, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert [key["name"] for key in json.loads(command(path, "list", "--json").stdout)] == ["shop"]


@pytest.mark.parametrize("arguments", [["list"], ["remove", "shop"], ["rotate", "shop"], ["credits", "shop", "1"]])
def test_only_add_creates_the_file(path: Path, arguments: list[str]) -> None:
    error = command(path, *arguments).exception
    assert isinstance(error, StoreError)
    assert f"no key file {path}" in str(error)
    assert not path.exists()


def test_expiry_and_rotation(path: Path) -> None:
    first = command(path, "add", "shop", "--credits", "9", "--expires", "30d").stdout.strip()
    (listed,) = json.loads(command(path, "list", "--json").stdout)
    assert listed["expires"] - listed["created"] == pytest.approx(30 * 86_400, abs=0.001)
    assert (
        f"  expires  {datetime.fromtimestamp(listed['expires']).astimezone():%Y-%m-%d %H:%M}\n"
        in command(path, "list").stdout
    )
    rotated = command(path, "rotate", "shop", "--grace", "1h30m")
    assert "The old one works for 1h30m more." in rotated.stderr
    second = rotated.stdout.strip()
    assert "  rotated  old secret: 2" in command(path, "list").stdout
    with closing(SqliteKeyStore(path)) as file:
        assert [file.authenticate(text).credits for text in (first, second)] == [9, 9]
        assert "does not work any more" in command(path, "rotate", "shop", "--expires", "1ms").stderr
        for text in (first, second):
            with pytest.raises(UnauthenticatedError):
                file.authenticate(text)
    wait_until(lambda: "(expired)" in command(path, "list").stdout)


def test_keys_in_a_database_and_an_invalid_url(postgres: Postgres) -> None:
    url = postgres.create_database()
    assert CliRunner().invoke(keys, ["add", "shop", "--credits", "5", "--keys", url]).exit_code == 0
    listed = CliRunner().invoke(keys, ["list", "--json"], env={"AUTOMASK_KEYS": url})
    assert [(key["name"], key["credits"]) for key in json.loads(listed.stdout)] == [("shop", 5)]
    wrong = CliRunner().invoke(keys, ["list", "--keys", "postgresql://me:pw/12@host/db"])
    assert wrong.exit_code == 2
    assert "must be a path or a URL such as postgresql://" in wrong.output
    assert "12" not in wrong.output


def test_the_default_location(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "home"), "XDG_DATA_HOME": "relative", "AUTOMASK_KEYS": None}
    assert CliRunner().invoke(keys, ["add", "shop"], env=home).exit_code == 0
    assert (tmp_path / "home/.local/share/automask/keys.sqlite3").is_file()
    shared = {**home, "XDG_DATA_HOME": str(tmp_path / "data")}
    assert CliRunner().invoke(keys, ["add", "shop"], env=shared).exit_code == 0
    assert (tmp_path / "data/automask/keys.sqlite3").is_file()
