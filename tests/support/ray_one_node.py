"""Ray on one node, started by the test process, and the service on it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.deployment import Application
from ray.serve.handle import DeploymentHandle

from automask.service.config.settings import load_settings
from automask.service.ray.api import deploy_api
from automask.service.ray.cluster import FUNCTIONS
from automask.service.ray.inference import deploy_models
from support.ports import free_port
from support.ray_many_nodes import ENVIRONMENT, Node
from support.threaded_server import wait_until

__all__ = ["SMALL", "RayCluster", "RayServer"]

SMALL = {"num_cpus": 0.01, "api_cpus": 0}  # so that all servers of the tests fit on one node


@dataclass
class RayServer:
    """The service on a cluster.

    Attributes
    ----------
    name
        Name of the application. Calls carry it, because there are several.
    address, http_address
        Where clients connect to.
    handle
        Handle of the API replicas.
    """

    name: str
    address: str
    http_address: str
    handle: DeploymentHandle[Any]

    def channel(self) -> grpc.Channel:
        """Open a channel to this application."""
        return grpc.intercept_channel(grpc.insecure_channel(self.address), _AddApplicationName(self.name))

    def pending_tasks(self) -> int:
        """Return the number of tasks that wait or run."""
        return int(self.handle.tasks.remote().result())


class _AddApplicationName(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the metadata by which Ray Serve's proxy chooses the application."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _intercept(self, call: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("application", self._name)]
        return call(details._replace(metadata=metadata), request)

    intercept_unary_unary = _intercept  # type: ignore[assignment]  # one method for calls of every type
    intercept_unary_stream = _intercept  # type: ignore[assignment]
    intercept_stream_stream = _intercept  # type: ignore[assignment]


class RayCluster:
    """One Ray node with four logical CPUs, and Ray Serve on it."""

    def __init__(self) -> None:
        os.environ.update(ENVIRONMENT)
        ray.init(
            "local",
            num_cpus=4,
            object_store_memory=200 << 20,
            include_dashboard=False,
            log_to_driver=False,
            _system_config={"metrics_report_interval_ms": 500},
        )
        self._numbers = itertools.count()
        grpc_port, http_port = free_port(), free_port()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("ray.serve._private.api.HTTP_PROXY_TIMEOUT", 300)  # seconds until `start` fails
        self._patch.setattr("ray.serve._private.client.CLIENT_POLLING_INTERVAL_S", 0.1)  # instead of 1 s
        serve.start(
            http_options=HTTPOptions(port=http_port),
            grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=list(FUNCTIONS)),
        )
        # One model for all servers: what the tests of the contract compare is in front of it.
        settings = load_settings(ray=SMALL, device="cpu", workers=1, decode_processes=0)
        (model,) = deploy_models(settings).values()
        self._models = serve.run(model, name="models", route_prefix="/models")
        self.address, self.http_address = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}"

    @property
    def ray_address(self) -> str:
        """The address at which other processes join."""
        return str(ray.get_runtime_context().gcs_address)

    def metrics(self) -> str:
        """Return the node's metrics in Prometheus' format."""
        (node,) = ray.nodes()
        with urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as response:
            return str(response.read().decode())

    @contextmanager
    def running(self, application: Application) -> Iterator[RayServer]:
        """Run an application under its own name; drain and delete it when the block ends."""
        name = f"automask-{next(self._numbers)}"
        handle = serve.run(application, name=name, route_prefix=f"/{name}")
        try:
            yield RayServer(name, self.address, f"{self.http_address}/{name}", handle)
        finally:
            handle.broadcast("drain").results()
            serve.delete(name, _blocking=False)

    @contextmanager
    def serving(self, settings: dict[str, Any]) -> Iterator[RayServer]:
        """Serve with the shared model until the block ends."""
        with self.running(self.api(settings)) as server:
            yield server

    def api(self, settings: dict[str, Any]) -> Application:
        """Build an application that uses the shared model."""
        loaded = load_settings(engine="ray", insecure=True, ray=SMALL, **settings)
        return deploy_api(loaded, {loaded.model: self._models})

    @contextmanager
    def another_node(self) -> Iterator[None]:
        """Start a second node without CPUs; when the block ends, stop it and wait until it has left."""
        node = Node(f"--address={self.ray_address}", "--num-cpus=0")
        try:
            yield
        finally:
            node.stop()
            wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 1)  # else the next server counts two

    def close(self) -> None:
        """Stop Ray, and with it Ray Serve, which would take its time."""
        ray.shutdown()
        self._patch.undo()
