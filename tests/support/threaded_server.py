"""Real servers for the tests: in a thread of this process, in one that can be killed, or on a Ray cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.rpc.status_pb2 import Status

from automask.service.config.settings import load_settings
from automask.service.server import Server

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster

__all__ = ["CALL_TIMEOUT", "connect", "pending_tasks", "rich_status", "serving", "wait_until"]

CALL_TIMEOUT = 120.0  # seconds, of a call that fails the test if it takes that long

# What a server in a thread logs would stand between the lines of the tests' own output.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def rich_status(error: grpc.RpcError) -> Status:
    """The rich error of a call, which must agree with the plain one."""
    call: Any = error
    metadata = dict(call.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (call.code().value[0], call.details())
    assert metadata["x-request-id"]
    return status


@contextmanager
def serving(folder: Path, cluster: RayCluster | None = None, /, **settings: Any) -> Iterator[Any]:
    """Serve until the block ends, then drain: on a cluster, or else from a thread."""
    settings = {"port": 0, "store": folder / "requests.sqlite3", "device": "cpu", **settings}
    with _serving(settings) if cluster is None else cluster.serving(settings) as server:
        yield server


def connect(server: Any) -> grpc.Channel:
    """Open a channel to a server."""
    return grpc.insecure_channel(server.address) if isinstance(server, Server) else server.channel()


def pending_tasks(server: Any) -> int:
    """Tasks that wait or are worked on."""
    if not isinstance(server, Server):
        return int(server.pending_tasks())
    assert server._engine is not None
    return len(server._engine._queue) + server._engine._busy


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what must come to pass."""
    while not condition():
        sleep(0)  # the server may be in this process, and wants its turn


@contextmanager
def _serving(settings: dict[str, Any]) -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    ready, stopping = Event(), asyncio.Event()
    made: list[Server] = []
    problems: list[BaseException] = []

    async def serve() -> None:
        try:
            server = Server(load_settings(**settings))
            await server.start()
            await server.load()
            made.append(server)
        except BaseException as error:  # noqa: BLE001 (is raised in the test)
            problems.append(error)
            return
        finally:
            ready.set()
        await stopping.wait()
        await server.stop()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        if problems:
            raise problems[0]
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
