"""What is at the path of the SQLite store: files of others or of newer versions, pipes, and files lost while in use."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from automask.service import Client
from automask.service.errors import StoreError, StoreUnavailableError
from automask.service.states import State
from automask.service.store.protocol import Store
from automask.service.store.sqlite.schema import APPLICATION_ID
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.server_process import ServerProcess
from support.stores import open_store
from support.threaded_server import rich_status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.db"


def add(store: Store, count: int = 1) -> list[str]:
    return [store.add(b"task", owner="me", model="default").request_id for _ in range(count)]


def filled(path: Path) -> list[str]:
    with open_store(path) as store:
        return add(store, 40)


def another_text(path: Path) -> None:
    path.write_text("lines of text\n" * 1000)


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")
        db.commit()


def marked_database(path: Path) -> None:
    foreign_database(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")


def database_with_a_log(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    foreign_database(path)


@pytest.mark.parametrize(
    "make", [another_text, foreign_database, marked_database, database_with_a_log], ids=lambda f: f.__name__
)
def test_a_file_that_is_not_a_store_is_refused_and_left_unchanged(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"the request store {path}: it must be a store of automask or a new file"):
        open_store(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_another_database_whose_tables_are_only_in_its_log_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE notes (text)")
        with pytest.raises(StoreError, match="it must be a store of automask or a new file"):
            open_store(path)
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_a_newer_version_is_refused_and_left_unchanged(path: Path) -> None:
    ids = filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = contents(path.parent)
    with pytest.raises(StoreError, match="its version must be at most 3, got 99"):
        open_store(path)
    assert contents(path.parent) == before
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 3")
    with open_store(path) as store:
        assert store.usage().counts[State.QUEUED] == len(ids)


def test_a_newer_version_that_crashed_is_refused_and_left_unchanged(path: Path, tmp_path: Path) -> None:
    filled(path)
    crashed = tmp_path / "crashed"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
        assert db.execute("SELECT count(*) FROM requests").fetchone() == (40,)
        shutil.copytree(path.parent, crashed, ignore=shutil.ignore_patterns("crashed"))
    copy = crashed / path.name
    assert copy.read_bytes()[60:64] == (3).to_bytes(4), "its version is in the log alone"
    before = contents(crashed)
    assert set(before) == {copy.name + suffix for suffix in ("", "-wal", "-shm", ".lock")}
    with pytest.raises(StoreError, match="its version must be at most 3, got 99"):
        open_store(copy)
    assert contents(crashed) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def device(_: Path) -> Path:
    return Path("/dev/zero")


def pipe_as_log(path: Path) -> Path:
    filled(path)
    return pipe(path.with_name(f"{path.name}-wal"))


@pytest.mark.parametrize("make", [pipe, unix_socket, folder, device, pipe_as_log], ids=lambda f: f.__name__)
def test_what_is_no_regular_file_is_refused_at_once(path: Path, make: Callable[[Path], Path]) -> None:
    other = make(path)
    with pytest.raises(StoreError, match=f"{other} must be a regular file or a new one, but is a "):
        open_store(path if other.parent == path.parent else other)
    assert other.exists()
    assert not Path("/dev/zero.lock").exists()


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.touch()


def without_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


@pytest.mark.parametrize("lose", [deleted, replaced, without_log], ids=lambda f: f.__name__)
def test_a_file_that_is_lost_while_in_use_is_unavailable_until_a_restart(
    path: Path, lose: Callable[[Path], None]
) -> None:
    with open_store(path) as store:
        (request_id,) = add(store)
        lose(path)
        uses: list[Callable[[], object]] = [
            lambda: add(store),
            lambda: store.get(request_id, "me"),
            store.lease,
            store.usage,
            store.sweep,
            lambda: store.listen(0),
        ]
        for use in uses:
            with pytest.raises(StoreUnavailableError, match=f"the request store {path}: its file, .* or restart"):
                use()
    with pytest.raises(StoreError, match="closed"):
        store.usage()
    with open_store(path) as store:
        add(store)


def test_a_file_that_is_put_back_is_used_again(path: Path) -> None:
    with open_store(path) as store:
        (request_id,) = add(store)
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(StoreUnavailableError, match="deleted or moved away"):
            store.get(request_id, "me")
        path.with_name("elsewhere").rename(path)
        assert store.get(request_id, "me").state is State.QUEUED


def test_closing_a_store_whose_file_was_replaced_leaves_the_new_one_alone(path: Path) -> None:
    with open_store(path) as store:
        add(store)
        for part in path.parent.glob(f"{path.name}*"):
            part.unlink()
        with open_store(path) as new:
            (request_id,) = add(new)
            store.close()
            with open_store(path) as third:
                assert third.get(request_id, "me").state is State.QUEUED


def test_a_server_whose_store_is_deleted_goes_on_with_direct_calls(tmp_path: Path, coffee_file: Path) -> None:
    path = tmp_path / "requests.db"
    with ServerProcess("--port", 0, "--store", path) as process, Client(process.address) as client:
        job = client.submit(coffee_file, "cup")
        job.result(timeout=60)
        path.unlink()
        with grpc.insecure_channel(process.address) as channel:
            request = messages.GetStatusRequest(request_id=job.request_id)
            with pytest.raises(grpc.RpcError) as caught:
                MaskServiceStub(channel).GetStatus(request)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "deleted or moved away while in use" in rich_status(caught.value).message
        logged = process.wait_for("store")
        assert logged["level"] == "error"
        assert f"the request store {path}: its file, or the log beside it, was deleted" in logged["problem"]
        assert not client.mask(coffee_file, "cup").is_empty
        assert process.end() == 0
        assert not [event for event in process.events if "bug" in event["event"]]
    with ServerProcess("--port", 0, "--store", path) as process, Client(process.address) as client:
        assert not client.submit(coffee_file, "cup").result(timeout=60).is_empty
        process.end()


def test_a_server_logs_that_its_store_is_lost_and_found_once(tmp_path: Path) -> None:
    path = tmp_path / "requests.db"
    with ServerProcess("--port", 0, "--store", path) as process, grpc.insecure_channel(process.address) as channel:
        path.rename(path.with_name("elsewhere"))
        process.wait_for("store")
        path.with_name("elsewhere").rename(path)
        process.wait_for("store: works again")
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            MaskServiceStub(channel).GetStatus(messages.GetStatusRequest(request_id="none"))
        assert process.end() == 0
        assert [event["event"] for event in process.events if event["level"] != "info"] == [
            "store",
            "store: works again",
        ]


@pytest.mark.parametrize(
    "location",
    ["mysql://u:SECRET@h/x", " postgresql://u:SECRET@h/x", "u:SECRET@h/x", "host=h password=SECRET", "sqlite:///x.db"],
)
def test_what_is_neither_a_path_nor_a_url_of_postgresql_is_refused(tmp_path: Path, location: str) -> None:
    for command in (["serve", "--store", location], ["keys", "list", "--keys", location]):
        done = subprocess.run(
            [sys.executable, "-m", "automask", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "must be a path or a URL such as postgresql://" in " ".join(done.stderr.split())
        assert "SECRET" not in done.stdout + done.stderr
        assert not list(tmp_path.iterdir())
