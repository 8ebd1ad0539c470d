"""A Ray cluster of one node for the tests, and the service on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.handle import DeploymentHandle

from automask.service.ray.cluster import FUNCTIONS, NAME
from automask.service.ray_app import build

__all__ = ["Cluster", "RayServer"]

_MOST_BYTES = 32 << 20  # of a message; Ray Serve's proxies take one number for all applications


@dataclass
class RayServer:
    """The service on a cluster.

    Attributes
    ----------
    address, http_address
        Where clients connect to.
    handle
        Leads to the replicas that answer calls.
    """

    address: str
    http_address: str
    handle: DeploymentHandle[Any]

    def tasks(self) -> int:
        """Tasks that wait or are worked on."""
        return int(self.handle.tasks.remote().result())


class Cluster:
    """One node with enough CPUs on paper, and Ray Serve on it."""

    def __init__(self) -> None:
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_AUTH_MODE="disabled",  # else it writes a token into the home of whoever runs the tests
            RAY_SERVE_GRPC_MAX_MESSAGE_SIZE=str(_MOST_BYTES),
        )
        ray.init("local", num_cpus=16, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
        grpc_port, http_port = _free_port(), _free_port()
        serve.start(
            http_options=HTTPOptions(port=http_port),
            grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=list(FUNCTIONS)),
        )
        self.address, self.http_address = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}"

    @contextmanager
    def serving(self, settings: dict[str, Any], name: str = NAME, route: str = "/") -> Iterator[RayServer]:
        """Deploy the service, and take it away."""
        handle = serve.run(build(settings), name=name, route_prefix=route)
        try:
            yield RayServer(self.address, self.http_address, handle)
        finally:
            handle.broadcast("drain").results()
            serve.delete(name)

    def close(self) -> None:
        """End all of it."""
        serve.shutdown()
        ray.shutdown()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
