"""What the question `cluster` measures: several servers with one PostgreSQL, and a Ray cluster of several nodes.

Clients submit requests under idempotency keys and wait for their results. Meanwhile a server is killed with -9, another
joins, and PostgreSQL is stopped as in a crash and started again. `killing.py` says what must hold afterwards.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from ray import serve
from ray.serve.deployment import Application

from automask.service.config.settings import load_settings
from automask.service.ray.app import build
from harness.killing import PHOTO, Crowd, judged, phases, points
from harness.photos import unseen
from harness.simulation import zipf
from harness.standin import standing_in
from harness.turns import Contender, by_turns
from harness.workplace import Workplace
from questions.cluster import CACHE_MB, CALLS, CLIENTS, PHOTOS, SERVERS
from questions.service import flood, submitting, through, times
from support.postgres import Postgres, running_postgres
from support.ray_many_nodes import MultiNodeCluster, multi_node_cluster
from support.server_process import ServerProcess

REPLICAS = (1, 2, 4, 8)
WAYS = dict(zip(CALLS, (through, submitting), strict=True))


def free_ports(number: int) -> list[int]:
    """Find ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]


def targets(ports: list[int]) -> list[str]:
    """Give each client all servers, each another one first; gRPC goes to the next where one is not there."""
    turned = [[*ports[number:], *ports[:number]] for number in range(len(ports))]
    return [
        "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in turned[number % len(ports)]) for number in range(CLIENTS)
    ]


@dataclass(frozen=True)
class Scene:
    """What the kill run needs of those that it runs on.

    Attributes
    ----------
    targets
        Where each client connects to.
    kill, join
        End one of the machines without a word; start another.
    events
        Everything that was logged so far.
    """

    targets: list[str]
    kill: Callable[[], object]
    join: Callable[[], object]
    events: Callable[[], list[dict[str, Any]]]


@contextmanager
def plain(url: str) -> Iterator[Scene]:
    """Several `automask serve` with one database."""
    ports = free_ports(SERVERS + 1)
    options = ("--store", url, "--workers", 1, "--threads", 1)
    with ExitStack() as stack:
        servers: list[ServerProcess] = []

        def join() -> None:
            servers.append(stack.enter_context(ServerProcess("--port", ports[len(servers)], *options)))

        for _ in range(SERVERS):
            join()
        yield Scene(
            targets(ports),
            kill=lambda: servers[0].end(signal.SIGKILL),
            join=join,
            events=lambda: list(chain.from_iterable(server.events for server in servers)),
        )


@contextmanager
def on_ray(cluster: MultiNodeCluster, url: str) -> Iterator[Scene]:
    """Nodes of Ray with a replica each, before them two replicas that answer calls."""
    nodes = [cluster.join() for _ in range(SERVERS)]
    with cluster.serving(application(url, SERVERS, api_replicas=2)):
        yield Scene([cluster.address] * CLIENTS, nodes[0].kill, cluster.join, cluster.events)


def application(url: str, replicas: int, *, api_replicas: int = 1, **settings: Any) -> Application:  # noqa: ANN401
    """Make the service with so many replicas of the embedded model, each with one thread and a CPU on paper."""
    scale = {"min_replicas": replicas, "max_replicas": replicas, "num_cpus": 1, "api_cpus": 0}
    table = {**scale, "api_replicas": api_replicas, **settings.pop("ray", {})}
    return build({"store": url, "log_json": True, "threads": 1, "device": "cpu", "ray": table, **settings})


def kill_run(scene: Scene, database: Postgres, url: str, requests: int) -> dict[str, Any]:
    """Kill, join and restart while clients are at work, then judge."""
    crowd = Crowd(scene.targets, requests)
    events: dict[str, float] = {}
    crowd.wait_for(requests // 4)
    events["killed"] = crowd.now
    scene.kill()
    crowd.wait_for(requests // 2)
    scene.join()
    events["another joins"] = crowd.now
    crowd.wait_for(requests * 3 // 4)
    events["PostgreSQL crashes"] = crowd.now
    with database.stopped():
        pass
    events["PostgreSQL is back"] = crowd.now
    crowd.join()
    stored = database.execute("SELECT count(*) FROM automask.requests", url.rpartition("/")[2])[0][0]
    ends = [one for one in scene.events() if one.get("event") in {"request", "request was taken away"}]
    with ServerProcess("--port", 0, "--store", url) as other:  # none of those that worked on them
        return _told(crowd, requests, events, judged(crowd, other.address, stored, ends))


def _told(crowd: Crowd, requests: int, events: dict[str, float], verdict: dict[str, int]) -> dict[str, Any]:
    """Put the figures together, and refuse to go on where a promise was broken."""
    if verdict["wrong"] or verdict["doubled"] or verdict["completed"] != requests:
        raise SystemExit(f"a promise was broken: {verdict}")
    last = max(answer.answered for answer in crowd.answers)
    return {
        **verdict,
        "seconds": round(last, 1),
        "per_second": round(len(crowd.answers) / last, 1),
        "events": {name: round(second, 2) for name, second in events.items()},
        "ms": phases(crowd.answers, min(events.values()), max(events.values())),
        "points": points(crowd.answers),
    }


def by_turns_with_plain(cluster: MultiNodeCluster, database: Postgres, folder: Path, rounds: int) -> dict[str, Any]:
    """Ask one server and one replica behind Ray's proxies in turn: what the engine costs a call."""
    options = ("--port", 0, "--workers", 1, "--threads", 1)
    with ExitStack() as stack:
        on_sqlite = stack.enter_context(ServerProcess(*options, "--store", folder / "requests.sqlite3"))
        on_postgres = stack.enter_context(ServerProcess(*options, "--store", database.create_database()))
        stack.enter_context(cluster.serving(application(database.create_database(), 1)))
        places = {"SQLite": on_sqlite.address, "PostgreSQL": on_postgres.address, "Ray, PostgreSQL": cluster.address}
        asks = {f"{name}: {what}": way(at) for what, way in WAYS.items() for name, at in places.items()}
        contenders: dict[str, Contender] = {name: lambda _, ask=ask: ask(PHOTO, "cup") for name, ask in asks.items()}  # type: ignore[misc]
        return by_turns(contenders, rounds, warm=3)


def throughput(cluster: MultiNodeCluster, database: Postgres, workplace: Workplace) -> dict[str, Any]:
    """Flood more and more replicas: stand-ins of a fixed cost, and the embedded model."""
    found: dict[str, Any] = {"stand-in": {}, "embedded": {}}
    settings = load_settings(
        engine="ray", insecure=True, store=database.create_database(), device="cpu", ray={"api_cpus": 0}
    )
    for replicas in REPLICAS[: workplace.pick(None, 1)]:
        with cluster.serving(standing_in(settings, replicas)):
            load = flood(through(cluster.address), 2 * replicas, times(workplace.pick(60 * replicas, 10)), fresh=0)
        found["stand-in"][str(replicas)] = load
    for replicas in (1, 2):
        with cluster.serving(application(database.create_database(), replicas, ray={"sticky": False})):
            load = flood(through(cluster.address), 4 * replicas, times(workplace.pick(200, 10)), fresh=0)
        found["embedded"][str(replicas)] = load
    return found


def stickiness(cluster: MultiNodeCluster, database: Postgres, workplace: Workplace) -> dict[str, Any]:
    """Ask for photos by popularity, with replicas that hold a part of them: how many find their encoding."""
    photos = [unseen(PHOTO) for _ in range(PHOTOS)]
    order = Random(0).choices(photos, zipf(PHOTOS), k=workplace.pick(240, 12))  # noqa: S311 (an order, no secrets)
    found = {}
    for sticky in (True, False):
        app = application(database.create_database(), SERVERS, cache_mb=CACHE_MB, ray={"sticky": sticky})
        with cluster.serving(app):
            ask, turns = through(cluster.address), iter(order)
            load = flood(lambda _, prompt: ask(next(turns), prompt), 3, times(len(order)), fresh=0)  # noqa: B023 (used here)
            handle = serve.get_deployment_handle("model-0-default", "automask")
            caches = [one for _, models in handle.broadcast("cache_info").results() for one in models.values()]
        hits, misses = (sum(getattr(one, name) for one in caches) for name in ("hits", "misses"))
        found["sticky" if sticky else "anywhere"] = {**load, "hits": round(hits / (hits + misses), 4)}
    return found


def measured(workplace: Workplace) -> dict[str, Any]:
    """Kill, and compare; everything on Ray in one cluster."""
    folder, requests = workplace.folder / "cluster", workplace.pick(2000, 60)
    folder.mkdir()
    head, grpc_port, http_port = free_ports(3)
    with running_postgres(durable=True) as database:
        url = database.create_database()
        with plain(url) as scene:
            killed = {"plain": kill_run(scene, database, url, requests)}
        with multi_node_cluster(port=head, grpc_port=grpc_port, http_port=http_port) as cluster:
            url = database.create_database()
            with on_ray(cluster, url) as scene:
                killed["Ray"] = kill_run(scene, database, url, requests)
            return {
                "kill": killed,
                "overhead": by_turns_with_plain(cluster, database, folder, workplace.pick(60, 3)),
                "throughput": throughput(cluster, database, workplace),
                "sticky": stickiness(cluster, database, workplace),
            }
