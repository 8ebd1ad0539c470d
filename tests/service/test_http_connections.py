"""Connections of clients that do not read, and of more clients than there are file descriptors."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from automask.service.server import Server
from support.server_process import ServerProcess
from support.threaded_server import serving, wait_until

DESCRIPTORS = 120
LARGE = "/static/swagger-ui-bundle.js"  # over a megabyte


def connection_to(address: str, stack: ExitStack) -> socket.socket:
    host, _, port = address.rpartition(":")
    return stack.enter_context(socket.create_connection((host, int(port)), timeout=60))


def open_connections(server: Server) -> int:
    assert server._http is not None
    return len(server._http._server.server_state.connections)


def test_a_client_that_does_not_read_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, http_port=0, http_timeout="500ms") as server, ExitStack() as stack:
        for requests in (3, 30) * 5:  # that end in the buffers of the system, or wait for the client
            slow = connection_to(server.http_address, stack)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(f"GET {LARGE} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode() * requests)
        url = f"http://{server.http_address}{LARGE}"
        assert httpx.get(url, timeout=60).status_code == 200  # so the others were accepted
        wait_until(lambda: open_connections(server) == 0)
        assert httpx.get(url, timeout=60).status_code == 200


def test_idle_connections_leave_descriptors_for_others(tmp_path: Path) -> None:
    with ServerProcess("--port", 0, "--http-port", 0, "--store", tmp_path / "s") as process:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, most))
        with ExitStack() as stack:
            for number in range(2 * DESCRIPTORS):
                connection_to(process.http_address, stack)
                if number % 50 == 49:
                    assert httpx.get(f"http://{process.http_address}/healthz", timeout=60).status_code == 200
            used = len([*Path(f"/proc/{process.pid}/fd").iterdir()])
            assert used < DESCRIPTORS
            assert httpx.get(f"http://{process.http_address}/healthz", timeout=60).status_code == 200
        assert httpx.get(f"http://{process.http_address}/healthz", timeout=60).status_code == 200
        assert process.end() == 0
    warnings = [event for event in process.events if event["level"] != "info"]
    assert 1 <= len(warnings) < 10
    assert {event["event"] for event in warnings} == {"file descriptors run out, so idle connections are closed"}
