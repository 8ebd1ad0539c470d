"""The milliseconds that one request costs in each store, from adding it to fetching its result, by size of the photo.

One thread, one request at a time. How many requests a second a store takes from several servers is the question
`store_throughput`.
"""

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
from harness.options import RunOptions, requires
from harness.tables import format_spread, table
from harness.timing import time_in_turns

PHOTO_KB = (30, 300, 3000)
MASK = os.urandom(20_000)
_POLICY = StorePolicy(encode_error=lambda error: to_status(error).SerializeToString(), max_queue=10, max_bytes=1 << 40)


def one_request(store: Store, photo: bytes) -> Callable[[int], None]:
    """Return a contender that takes one request through a store, from its photo to its mask."""

    def once(_: int) -> None:
        request_id = store.add(photo, owner="", model="default").request_id
        lease = store.lease()
        if lease is None or lease.task != photo or not store.complete(lease, MASK):
            raise SystemExit("the store lost a photo")
        if store.result(request_id, "").result != MASK:
            raise SystemExit("the store lost a result")

    return once


def measure(options: RunOptions) -> dict[str, Any]:
    """Time all stores in turn. All of them wait for the disk.

    Raises
    ------
    MissingRequirementError
        PostgreSQL is not installed.
    """
    with requires("the extras postgres and dev"):
        from support.postgres import running_postgres
    folder = options.folder / "store_latency"
    folder.mkdir()
    with ExitStack() as stack:
        cluster = stack.enter_context(running_postgres(durable=True))
        locations: dict[str, tuple[Path | PostgresUrl, str | None]] = {
            "SQLite": (folder / "requests.sqlite3", None),
            "PostgreSQL": (PostgresUrl(cluster.create_database()), None),
            "PostgreSQL, media in a folder": (PostgresUrl(cluster.create_database()), str(folder / "media")),
        }
        stores = {
            name: stack.enter_context(open_store(location, _POLICY, media=media))
            for name, (location, media) in locations.items()
        }
        return {
            str(size): time_in_turns(
                {name: one_request(store, os.urandom(size * 1000)) for name, store in stores.items()},
                options.pick(100, 2),
            )
            for size in PHOTO_KB[: options.pick(None, 2)]
        }


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    sizes, names = list(figures), list(next(iter(figures.values())))
    rows = [[name, *(format_spread(figures[size][name]) for size in sizes)] for name in names]
    head = ["store", *(f"photo of {int(size):,} kB" for size in sizes)]
    return (
        "**A request in the store** (added, leased, completed, fetched, on one thread; every store waits for the disk; "
        "PostgreSQL on the same machine, the folder on the same disk; milliseconds: median (quartiles))\n\n"
        f"{table(head, rows)}"
    )
