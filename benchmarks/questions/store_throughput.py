"""The requests a second that a store takes from several servers at once, if the work itself took no time.

Each thread stands for a server. A request has a photo of 65 KB and a result of 10 KB, and takes three transactions,
each of which waits for the disk. The time of a single request is the question `store_latency`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

from automask.service.config.locations import PostgresUrl
from automask.service.store.factory import open_store
from automask.service.store.policy import StorePolicy
from automask.service.store.protocol import Store
from harness.options import RunOptions, requires
from harness.photos import COFFEE
from harness.tables import digits, format_spread, table
from harness.timing import Spread, spread

SERVERS = (1, 4, 16)
FEW = (1, 2)
RESULT = bytes(10_000)


def requests_per_second(location: Path | PostgresUrl, servers: int, requests: int) -> float:
    """Add, lease and complete `requests` requests on each server, and return the rate of all servers together."""
    photo = COFFEE.read_bytes()
    policy = StorePolicy(encode_error=lambda error: str(error).encode(), max_queue=1_000_000)

    def serve(store: Store) -> None:
        for _ in range(requests):
            store.add(photo, owner="", model="")
            lease = store.lease()  # perhaps that of another server: all of them share one queue
            if lease is not None:
                store.complete(lease, RESULT)

    with ExitStack() as stack, ThreadPoolExecutor(servers) as threads:
        stores = [stack.enter_context(open_store(location, policy)) for _ in range(servers)]
        started = perf_counter()
        for _ in threads.map(serve, stores):
            pass  # an error of a server is raised here
        return servers * requests / (perf_counter() - started)


def time_fsync(folder: Path, number: int) -> Spread:
    """Return the milliseconds of a small write that waits for the disk, as every commit does."""
    times = []
    with (folder / "block").open("wb", buffering=0) as file:
        for _ in range(number):
            started = perf_counter()
            file.write(bytes(4096))
            os.fsync(file)
            times.append(1e3 * (perf_counter() - started))
    return spread(times)


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure both stores on the same disk.

    Raises
    ------
    MissingRequirementError
        PostgreSQL is not installed.
    """
    with requires("the extras postgres and dev"):
        from support.postgres import running_postgres
    folder, requests = options.folder / "store_throughput", options.pick(300, 3)
    folder.mkdir()
    figures: dict[str, Any] = {"fsync_ms": time_fsync(folder, options.pick(300, 3)), "per_second": {}}
    with running_postgres(durable=True) as database:
        for servers in options.pick(SERVERS, FEW):
            each = max(2, requests // servers)
            locations: dict[str, Path | PostgresUrl] = {
                "SQLite": folder / f"{servers}.sqlite3",
                "PostgreSQL": PostgresUrl(database.create_database()),
            }
            figures["per_second"][str(servers)] = {
                name: round(requests_per_second(location, servers, each), 1) for name, location in locations.items()
            }
    return figures


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    stores = list(next(iter(figures["per_second"].values())))
    rows = [[name, *(digits(one[name]) for one in figures["per_second"].values())] for name in stores]
    return (
        table(["added, leased and completed, requests/s; servers", *figures["per_second"]], rows)
        + f"\nThree transactions each, with a photo of 65 KB, and no work between them. A write that waits for this "
        f"disk takes {format_spread(figures['fsync_ms'])} ms.\n"
    )
