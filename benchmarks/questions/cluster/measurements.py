"""The measurements of the question `cluster`: kill runs, overhead, throughput and cache hits."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from ray import serve

from automask.service.config.settings import load_settings
from harness.load import first, run_clients
from harness.numbered_requests import PHOTO
from harness.options import RunOptions
from harness.photos import unseen, zipf
from harness.service_calls import generate, submit
from harness.timing import Contender, Spread, time_in_turns
from support.postgres import Postgres, running_postgres
from support.ray_many_nodes import MultiNodeCluster, multi_node_cluster
from support.server_process import ServerProcess

from .kill_run import free_ports, kill_run, ray_application, ray_nodes, server_processes
from .setup import CACHE_MB, CALLS, PHOTOS, SERVERS
from .stand_in import stand_in_application

REPLICAS = (1, 2, 4, 8)


def measure(options: RunOptions) -> dict[str, Any]:
    """Run everything; what runs on Ray runs in one cluster."""
    folder, requests = options.folder / "cluster", options.pick(2000, 60)
    folder.mkdir()
    head, grpc_port, http_port = free_ports(3)
    with running_postgres(durable=True) as database:
        url = database.create_database()
        with server_processes(url) as machines:
            runs = {"plain": kill_run(machines, database, url, requests)}
        with multi_node_cluster(port=head, grpc_port=grpc_port, http_port=http_port) as cluster:
            url = database.create_database()
            with ray_nodes(cluster, url) as machines:
                runs["Ray"] = kill_run(machines, database, url, requests)
            return {
                "kill": runs,
                "overhead": overhead(cluster, database, folder, options.pick(60, 3)),
                "throughput": throughput(cluster, database, options),
                "sticky": stickiness(cluster, database, options),
            }


def overhead(cluster: MultiNodeCluster, database: Postgres, folder: Path, rounds: int) -> dict[str, Spread]:
    """Call one server and one replica behind Ray's proxy in turn: the difference is what Ray adds to a call."""
    arguments = ("--port", 0, "--workers", 1, "--threads", 1)
    with ExitStack() as stack:
        on_sqlite = stack.enter_context(ServerProcess(*arguments, "--store", folder / "requests.sqlite3"))
        on_postgres = stack.enter_context(ServerProcess(*arguments, "--store", database.create_database()))
        stack.enter_context(cluster.serving(ray_application(database.create_database(), 1)))
        addresses = {
            "SQLite": on_sqlite.address,
            "PostgreSQL": on_postgres.address,
            "Ray, PostgreSQL": cluster.address,
        }
        calls = {
            f"{name}: {kind}": way(address)
            for kind, way in zip(CALLS, (generate, submit), strict=True)
            for name, address in addresses.items()
        }
        contenders: dict[str, Contender] = {
            name: lambda _, call=call: call(PHOTO, "cup")  # type: ignore[misc]
            for name, call in calls.items()
        }
        return time_in_turns(contenders, rounds, warm=3)


def throughput(cluster: MultiNodeCluster, database: Postgres, options: RunOptions) -> dict[str, Any]:
    """Load more and more replicas: stand-ins of a fixed duration, and the embedded model."""
    found: dict[str, Any] = {"stand-in": {}, "embedded": {}}
    store = database.create_database()
    settings = load_settings(engine="ray", insecure=True, store=store, device="cpu", ray={"api_cpus": 0})
    for replicas in REPLICAS[: options.pick(None, 1)]:
        with cluster.serving(stand_in_application(settings, replicas)):
            number = options.pick(60 * replicas, 10)
            load = run_clients(generate(cluster.address), 2 * replicas, first(number), new_every=0)
        found["stand-in"][str(replicas)] = load
    for replicas in (1, 2):
        with cluster.serving(ray_application(database.create_database(), replicas, ray={"sticky": False})):
            number = options.pick(200, 10)
            load = run_clients(generate(cluster.address), 4 * replicas, first(number), new_every=0)
        found["embedded"][str(replicas)] = load
    return found


def stickiness(cluster: MultiNodeCluster, database: Postgres, options: RunOptions) -> dict[str, Any]:
    """Send photos by popularity to replicas whose caches hold only some of them, and count the cache hits."""
    photos = [unseen(PHOTO) for _ in range(PHOTOS)]
    order = Random(0).choices(photos, zipf(PHOTOS), k=options.pick(240, 12))  # noqa: S311 (an order, no secrets)
    found = {}
    for sticky in (True, False):
        application = ray_application(database.create_database(), SERVERS, cache_mb=CACHE_MB, ray={"sticky": sticky})
        with cluster.serving(application):
            call, turns = generate(cluster.address), iter(order)
            load = run_clients(lambda _, prompt: call(next(turns), prompt), 3, first(len(order)), new_every=0)  # noqa: B023 (used here)
            handle = serve.get_deployment_handle("model-0-default", "automask")
            caches = [one for _, models in handle.broadcast("cache_info").results() for one in models.values()]
        hits, misses = (sum(getattr(one, name) for one in caches) for name in ("hits", "misses"))
        found["sticky" if sticky else "anywhere"] = {**load, "hits": round(hits / (hits + misses), 4)}
    return found
