"""Many servers with one database: what is lost when one of them dies and the database restarts, and what it costs.

Clients submit requests under idempotency keys and wait for their results. Meanwhile a server is killed with -9, another
joins, and PostgreSQL is stopped as in a crash and started again. `killing.py` says what must hold afterwards.
"""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

from killing import Crowd, judged, phases, points
from postgres import Postgres, running
from server_process import ServerProcess
from turns import Spread, digits, table
from workplace import Workplace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DURABLE = "-c max_connections=200 -c shared_buffers=64MB"
"""Options of PostgreSQL: unlike in the tests, it waits for the disk."""
SERVERS, CLIENTS = 3, 12


def free_ports(number: int) -> list[int]:
    """Find ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]


def targets(ports: list[int]) -> list[str]:
    """Give each client all servers, each another one first; gRPC goes to the next where one is not there."""
    turned = [[*ports[number:], *ports[:number]] for number in range(len(ports))]
    return ["ipv4:" + ",".join(f"127.0.0.1:{port}" for port in turned[number % len(ports)]) for number in range(CLIENTS)]


def plain(database: Postgres, requests: int, stack: ExitStack) -> dict[str, Any]:
    """Several `automask serve` with one database."""
    url, ports = database.database(), free_ports(SERVERS + 1)
    options = ("--store", url, "--workers", 1, "--threads", 1)
    servers = [ServerProcess("--port", port, *options) for port in ports[:SERVERS]]
    for server in servers:
        stack.enter_context(server)
    crowd = Crowd(targets(ports), requests)
    events: dict[str, float] = {}
    crowd.wait_for(requests // 4)
    servers[0].end(signal.SIGKILL)
    events["a server is killed"] = crowd.now
    crowd.wait_for(requests // 2)
    servers.append(stack.enter_context(ServerProcess("--port", ports[-1], *options)))
    events["another joins"] = crowd.now
    crowd.wait_for(requests * 3 // 4)
    events["PostgreSQL crashes"] = crowd.now
    database.stop()
    database.start()
    events["PostgreSQL is back"] = crowd.now
    crowd.join()
    stored = database.run("SELECT count(*) FROM automask.requests", url.rpartition("/")[2])[0][0]
    verdict = judged(crowd, f"127.0.0.1:{ports[-1]}", stored, _ends(servers))
    for server in servers[1:]:
        server.end()
    return _told(crowd, events, verdict)


def _ends(servers: list[ServerProcess]) -> list[dict[str, Any]]:
    everything = chain.from_iterable(server.events for server in servers)
    return [event for event in everything if event.get("event") in {"request", "request was taken away"}]


def _told(crowd: Crowd, events: dict[str, float], verdict: dict[str, int]) -> dict[str, Any]:
    """Put the figures together, and refuse to go on where a promise was broken."""
    if verdict["wrong"] or verdict["doubled"] or verdict["completed"] != verdict["acknowledged"]:
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


def measure(workplace: Workplace) -> dict[str, Any]:
    """Kill, and compare."""
    with running(DURABLE) as database, ExitStack() as stack:
        return {"kill": {"plain": plain(database, workplace.pick(2000, 60), stack)}}
