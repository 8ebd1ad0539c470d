"""SQLite files of the request store with changed bytes: each is used, put aside or refused, and never a bug.

``make fuzz EXAMPLES=5000`` tries more.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automask.service.errors import InternalError, NotFoundError, StoreError
from automask.service.store.protocol import Store
from support.stores import ManualTime, add, open_store

EXAMPLES = int(os.environ.get("AUTOMASK_FUZZ_EXAMPLES", "120"))
WORDS = b"QUEUED|PROCESSING|COMPLETED|FAILED|CREATE|default|CHECK|requests|position|name-[0-9]"
Change = tuple[str, int, bytes]
CHANGES = st.tuples(
    st.sampled_from(("header", "word", "anywhere", "end")),
    st.integers(0, (1 << 32) - 1),
    st.one_of(st.binary(min_size=1, max_size=3), st.just(b"\xff"), st.binary(min_size=20, max_size=200)),
)
NAMES = count()


@cache
def stores() -> Mapping[str, tuple[bytes, bytes]]:
    """Return files and logs of a store that holds requests in every state: after a stop, and after a crash."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "requests.db")
        log = path.with_name("requests.db-wal")
        with open_store(path, max_queue=1000) as store:
            for number in range(16):
                add(store, b"task" * 400, idempotency_key=f"name-{number}", deadline=500 if number % 2 else None)
            crashed = path.read_bytes(), log.read_bytes()
            for number in range(9):
                lease = store.lease()
                assert lease
                if number % 4 == 0:
                    store.complete(lease, b"result" * 1000)
                elif number % 4 == 1:
                    store.fail(lease, InternalError("a reason"))
                elif number % 4 == 2:
                    store.cancel(lease.request_id, "me")
        return {"stopped": (path.read_bytes(), b""), "crashed": crashed}


def change(content: bytearray, kind: str, number: int, new: bytes) -> None:
    if kind == "end":
        del content[number % len(content) :]
        return
    if kind == "header":
        start = number % 100
    elif kind == "word" and (words := [match.start() for match in re.finditer(WORDS, content)]):
        start = words[number % len(words)] + number % 7
    else:
        start = number % len(content)
    content[start : start + len(new)] = new[: len(content) - start]


def use(store: Store) -> None:
    """Use every part of a store."""
    added = add(store, idempotency_key="new")
    ids = []
    while lease := store.lease():
        ids.append(lease.request_id)
        assert store.renew([lease]) == {lease.request_id}
        assert store.complete(lease, b"result")
    assert added in ids
    for request_id in ids:
        with suppress(NotFoundError):  # its owner may be another now
            store.result(request_id, "me")
    store.usage()
    store.sweep()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", ["stopped", "crashed"])
@given(
    st.lists(CHANGES, min_size=1, max_size=3), st.sampled_from(("file", "file", "log")), st.booleans(), st.booleans()
)
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
def test_a_changed_file_is_used_put_aside_or_refused(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    changes: list[Change],
    where: str,
    was_open: bool,
    later: bool,
) -> None:
    caplog.clear()
    file, log = map(bytearray, stores()[kind])
    for one in changes:
        change(log if where == "log" and log else file, *one)
        if not file or (where == "log" and not log):
            break
    path = folder / f"{next(NAMES)}.db"
    path.write_bytes(file)
    if log:
        path.with_name(f"{path.name}-wal").write_bytes(log)
    if was_open:
        path.with_name(f"{path.name}.lock").touch()
    try:
        store = open_store(path, ManualTime(wall=1_800_000_000.0 + 1e6 * later))
    except StoreError as error:
        expected = "newer automask" if was_open else "newer automask|must be a store of automask or a new file"
        assert re.search(expected, str(error))  # noqa: PT017
        assert path.read_bytes() == file, "it is left unchanged"
        return
    with store:
        use(store)
    aside = [one for one in folder.glob(f"{path.name}.corrupt-*") if not one.name.endswith(("-wal", "-shm"))]
    assert [one.read_bytes() for one in aside] == [file][: len(aside)]
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) == len(aside)


def test_the_files_that_are_changed_are_good(folder: Path) -> None:
    for name, (file, log) in stores().items():
        path = folder / f"{name}.db"
        path.write_bytes(file)
        path.with_name(f"{path.name}-wal").write_bytes(log)
        with open_store(path) as store:
            assert sum(store.usage().counts.values()) == 16
            use(store)
        assert not list(folder.glob("*.corrupt-*"))
