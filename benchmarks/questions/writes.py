"""How many submitted requests a second a store keeps, hands out and ends, if nobody had to work on them.

Each thread stands for a server of its own. A request brings a photo of 65 KB and leaves a result of 10 KB; that is
three transactions, each on disk before it counts.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Barrier, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from harness.machine import ROOT
from harness.turns import Spread, digits, show, spread, table
from harness.workplace import NotHereError, Workplace

if TYPE_CHECKING:
    from automask.service.config.locations import PostgresUrl

SERVERS = (1, 4, 16)
TRANSACTIONS = 3
RESULT = bytes(10_000)


def cycles(place: Path | PostgresUrl, servers: int, requests: int) -> float:
    """Let each server submit, take and end so many requests; how many a second that makes for all."""
    from automask.service.store.factory import open_store
    from automask.service.store.policy import StorePolicy

    photo = (ROOT / "examples" / "coffee.jpg").read_bytes()
    rules = StorePolicy(encode_error=lambda error: str(error).encode(), max_queue=1_000_000)
    barrier = Barrier(servers + 1)

    def serve() -> None:
        with open_store(place, rules) as store:
            barrier.wait()
            for _ in range(requests):
                store.add(photo, owner="", model="")
                lease = store.lease()  # perhaps another's: all take from one queue
                if lease is not None:
                    store.complete(lease, RESULT)
            barrier.wait()

    threads = [Thread(target=serve) for _ in range(servers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = perf_counter()
    barrier.wait()
    seconds = perf_counter() - started
    for thread in threads:
        thread.join()
    return servers * requests / seconds


def fsyncs(folder: Path, number: int) -> Spread:
    """Time what every commit waits for, in milliseconds."""
    times = []
    with (folder / "block").open("wb", buffering=0) as file:
        for _ in range(number):
            started = perf_counter()
            file.write(bytes(4096))
            os.fsync(file)
            times.append(1e3 * (perf_counter() - started))
    return spread(times)


def measure(workplace: Workplace) -> dict[str, Any]:
    """Both stores, on the same disk."""
    try:
        from automask.service.config.locations import PostgresUrl
        from support.postgres import running_postgres
    except ImportError as error:
        raise NotHereError(f"it takes the extra postgres, and what the tests need ({error})") from error
    folder, requests = workplace.folder / "writes", workplace.pick(300, 3)
    folder.mkdir()
    figures: dict[str, Any] = {"fsync_ms": fsyncs(folder, workplace.pick(300, 3)), "per_second": {}}
    with running_postgres(durable=True) as database:
        for servers in SERVERS:
            each = max(2, requests // servers)
            figures["per_second"][str(servers)] = {
                "SQLite": round(cycles(folder / f"{servers}.sqlite3", servers, each), 1),
                "PostgreSQL": round(cycles(PostgresUrl(database.create_database()), servers, each), 1),
            }
    return figures


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    stores = list(next(iter(figures["per_second"].values())))
    rows = [[name, *(digits(one[name]) for one in figures["per_second"].values())] for name in stores]
    return (
        table(["submitted, taken and ended, requests/s; servers", *figures["per_second"]], rows)
        + f"\nThree transactions each, with a photo of 65 KB, and no work between. A write that waits for the "
        f"disk takes {show(figures['fsync_ms'])} ms on this one.\n"
    )
