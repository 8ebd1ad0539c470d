"""What it costs to keep a request: from adding it to its result, in each store, with photos of several sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from automask.service.config.locations import PostgresUrl
from automask.service.store.factory import open_store
from automask.service.store.policy import StorePolicy
from automask.service.store.protocol import Store
from automask.service.wire.status import to_status
from harness.turns import by_turns, show, table
from harness.workplace import Workplace
from support.postgres import running_postgres

PHOTO_KB = (30, 300, 3000)
MASK = os.urandom(20_000)
_RULES = StorePolicy(encode_error=lambda error: to_status(error).SerializeToString(), max_queue=10, max_bytes=1 << 40)


def keep(store: Store, photo: bytes) -> Callable[[int], None]:
    """Make a contender: one request, from its photo to its mask."""

    def once(_: int) -> None:
        request_id = store.add(photo, owner="", model="default").request_id
        lease = store.lease()
        if lease is None or lease.task != photo or not store.complete(lease, MASK):
            raise SystemExit("the store lost what it was given")
        if store.result(request_id, "").result != MASK:
            raise SystemExit("the store lost a result")

    return once


def measure(workplace: Workplace) -> dict[str, Any]:
    """Time all stores by turns; all of them wait for the disk."""
    folder = workplace.folder / "keeping"
    folder.mkdir()
    with ExitStack() as stack:
        cluster = stack.enter_context(running_postgres(durable=True))
        places: dict[str, tuple[Path | PostgresUrl, str | None]] = {
            "SQLite": (folder / "requests.sqlite3", None),
            "PostgreSQL": (PostgresUrl(cluster.create_database()), None),
            "PostgreSQL, media in a folder": (PostgresUrl(cluster.create_database()), str(folder / "media")),
        }
        stores = {
            name: stack.enter_context(open_store(place, _RULES, media=media)) for name, (place, media) in places.items()
        }
        return {
            str(size): by_turns(
                {name: keep(store, os.urandom(size * 1000)) for name, store in stores.items()},
                workplace.pick(100, 2),
            )
            for size in PHOTO_KB
        }


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    names = list(figures[str(PHOTO_KB[0])])
    rows = [[name, *(show(figures[str(size)][name]) for size in PHOTO_KB)] for name in names]
    head = ["store", *(f"photo of {size:,} kB" for size in PHOTO_KB)]
    return (
        "**Keeping a request** (added, leased, completed, fetched, on one thread; every store waits for the disk; "
        "PostgreSQL on the same machine, the folder on the same disk; milliseconds: median (quartiles))\n\n"
        f"{table(head, rows)}"
    )
