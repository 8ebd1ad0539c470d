"""Kill runs: while clients work, a machine is killed with -9, another joins, and PostgreSQL crashes and restarts."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ray.serve.deployment import Application

from automask.service.ray.app import build
from support.postgres import Postgres
from support.ray_many_nodes import MultiNodeCluster
from support.server_process import ServerProcess

from .clients import Clients, check, phases, points
from .setup import CLIENTS, SERVERS


@dataclass(frozen=True)
class Machines:
    """The machines of a kill run.

    Attributes
    ----------
    targets
        Where each client connects to.
    kill, join
        Kill one of the machines; start another.
    events
        Return everything that was logged so far.
    """

    targets: list[str]
    kill: Callable[[], object]
    join: Callable[[], object]
    events: Callable[[], list[dict[str, Any]]]


@contextmanager
def server_processes(url: str) -> Iterator[Machines]:
    """Run several `automask serve` with one database."""
    ports = free_ports(SERVERS + 1)
    arguments = ("--store", url, "--workers", 1, "--threads", 1)
    with ExitStack() as stack:
        servers: list[ServerProcess] = []

        def join() -> None:
            servers.append(stack.enter_context(ServerProcess("--port", ports[len(servers)], *arguments)))

        for _ in range(SERVERS):
            join()
        yield Machines(
            _targets(ports),
            kill=lambda: servers[0].end(signal.SIGKILL),
            join=join,
            events=lambda: list(chain.from_iterable(server.events for server in servers)),
        )


@contextmanager
def ray_nodes(cluster: MultiNodeCluster, url: str) -> Iterator[Machines]:
    """Run Ray nodes with a replica each, behind two API replicas."""
    nodes = [cluster.join() for _ in range(SERVERS)]
    with cluster.serving(ray_application(url, SERVERS, api_replicas=2)):
        yield Machines([cluster.address] * CLIENTS, nodes[0].kill, cluster.join, cluster.events)


def ray_application(url: str, replicas: int, *, api_replicas: int = 1, **settings: Any) -> Application:  # noqa: ANN401
    """Build the service with replicas of the embedded model, each with one thread and one of Ray's logical CPUs."""
    scale = {"min_replicas": replicas, "max_replicas": replicas, "num_cpus": 1, "api_cpus": 0}
    table = {**scale, "api_replicas": api_replicas, **settings.pop("ray", {})}
    return build({"store": url, "log_json": True, "threads": 1, "device": "cpu", "ray": table, **settings})


def free_ports(number: int) -> list[int]:
    """Return ports that no process listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _targets(ports: list[int]) -> list[str]:
    """Return the target of each client: all servers, each client with another one first. gRPC skips a dead one."""
    rotated = [[*ports[number:], *ports[:number]] for number in range(len(ports))]
    return [
        "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in rotated[number % len(ports)]) for number in range(CLIENTS)
    ]


def kill_run(machines: Machines, database: Postgres, url: str, requests: int) -> dict[str, Any]:
    """Kill, join and crash while clients work, then check all requests.

    Raises
    ------
    SystemExit
        A request was lost, doubled or answered with another mask.
    """
    clients = Clients(machines.targets, requests)
    events: dict[str, float] = {}
    clients.wait_for(requests // 4)
    events["killed"] = clients.now
    machines.kill()
    clients.wait_for(requests // 2)
    machines.join()
    events["another joins"] = clients.now
    clients.wait_for(requests * 3 // 4)
    events["PostgreSQL crashes"] = clients.now
    with database.stopped():
        pass
    events["PostgreSQL is back"] = clients.now
    clients.join()
    stored = database.execute("SELECT count(*) FROM automask.requests", url.rpartition("/")[2])[0][0]
    ends = [one for one in machines.events() if one.get("event") in {"request", "request was taken away"}]
    with ServerProcess("--port", 0, "--store", url) as other:  # not one of those that worked on the requests
        counts = check(clients, other.address, stored, ends)
    if counts["wrong"] or counts["doubled"] or counts["completed"] != requests:
        raise SystemExit(f"a request was lost, doubled or answered wrongly: {counts}")
    last = max(one.completed for one in clients.completed)
    return {
        **counts,
        "seconds": round(last, 1),
        "per_second": round(len(clients.completed) / last, 1),
        "events": {name: round(second, 2) for name, second in events.items()},
        "ms": phases(clients.completed, min(events.values()), max(events.values())),
        "points": points(clients.completed),
    }
