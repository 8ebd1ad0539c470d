"""A server in a thread of the test process or, given a Ray cluster, the service on Ray; and helpers for calls."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.rpc.status_pb2 import Status

from automask.service.config.settings import load_settings
from automask.service.server import Server

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster

__all__ = ["CALL_TIMEOUT", "connect", "pending_tasks", "rich_status", "serving", "wait_until"]

CALL_TIMEOUT = 120.0  # seconds
_POLL_INTERVAL = 0.01  # seconds
_PATIENCE = 120.0  # seconds; pytest's timeout, which ends the whole process, is five times as long

# The log lines of a server in a thread would mix with pytest's own output.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def rich_status(error: grpc.RpcError) -> Status:
    """Return the `google.rpc.Status` of a failed call, which must agree with its code and details."""
    call: Any = error
    metadata = dict(call.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (call.code().value[0], call.details())
    assert metadata["x-request-id"]
    return status


@contextmanager
def serving(folder: Path, cluster: RayCluster | None = None, /, **settings: Any) -> Iterator[Any]:
    """Serve until the block ends, then drain: on a cluster if one is given, else in a thread.

    A server in a thread decodes images itself unless `decode_processes` is set: to start another process takes as long
    as the rest of the server, and on a busy machine an image that is decoded there may count as slow, after which
    another request is worked on beside it. Ray's replicas and `ServerProcess` have the default.
    """
    local = {"decode_processes": 0} if cluster is None else {}
    settings = {"port": 0, "store": folder / "requests.sqlite3", "device": "cpu", **local, **settings}
    with _serving(settings) if cluster is None else cluster.serving(settings) as server:
        yield server


def connect(server: Any) -> grpc.Channel:
    """Open a channel to a server."""
    return grpc.insecure_channel(server.address) if isinstance(server, Server) else server.channel()


def pending_tasks(server: Any) -> int:
    """Return the number of tasks that wait or run."""
    if not isinstance(server, Server):
        return int(server.pending_tasks())
    assert server._engine is not None
    return len(server._engine._queue) + server._engine._lanes.busy


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds, for state without an event to wait for.

    Raises
    ------
    TimeoutError
        It does not hold after two minutes; the message has its source.
    """
    end = monotonic() + _PATIENCE
    while not condition():
        if monotonic() > end:
            raise TimeoutError(f"still false after {_PATIENCE:g} s: {_source(condition)}")
        sleep(_POLL_INTERVAL)


def _source(function: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(function).split())
    except (OSError, TypeError):  # it has none, as a partial
        return repr(function)


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
        except BaseException as error:  # noqa: BLE001 (raised in the test)
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
