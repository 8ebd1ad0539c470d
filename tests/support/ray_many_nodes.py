"""A Ray cluster of several nodes on one machine, each of which can be killed whole; and the service on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.deployment import Application

from automask.service.ray.cluster import FUNCTIONS

_TESTS = Path(__file__).parents[1]
_MOST_BYTES = 32 << 20


class Node:
    """A raylet and all that it starts."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=100000000"]
        self._process = subprocess.Popen(
            [*command, "--disable-usage-stats", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """Kill all its processes with -9, as where a machine loses its power."""
        whole = psutil.Process(self._process.pid)
        for process in (whole, *whole.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


class MultiNodeCluster:
    """A head that holds the proxies and no replica, and nodes with one CPU each on paper."""

    def __init__(self, folder: Path, *, port: int, grpc_port: int, http_port: int) -> None:
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_AUTH_MODE="disabled",
            RAY_SERVE_GRPC_MAX_MESSAGE_SIZE=str(_MOST_BYTES),
            PYTHONPATH=os.pathsep.join((str(_TESTS), os.environ.get("PYTHONPATH", ""))),
        )
        self._folder, self._head, self.address = folder, f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}"
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}")
        self.nodes = [Node("--node-ip-address=127.0.0.1", *head)]
        self._connect()
        serve.start(
            proxy_location="HeadOnly",
            http_options=HTTPOptions(port=http_port),
            grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=list(FUNCTIONS)),
        )

    def _connect(self) -> None:
        """Join as soon as the head is there."""
        while True:
            try:
                ray.init(self._head, _node_ip_address="127.0.0.1", log_to_driver=False, logging_level="error")
            except ConnectionError:
                continue  # Ray itself waits between its tries
            else:
                return

    def join(self) -> Node:
        """Start another node, and wait until the head knows it: two that start at once choose the same sockets."""
        before = len(ray.nodes())  # dead ones stay among them
        node = Node("--node-ip-address=127.0.0.1", f"--address={self._head}", "--num-cpus=1")
        self.nodes.append(node)
        while len(ray.nodes()) == before:
            time.sleep(0.1)
        return node

    @contextmanager
    def serving(self, application: Application) -> Iterator[None]:
        """Serve until the block ends."""
        serve.run(application, name="automask", route_prefix="/automask")
        try:
            yield
        finally:
            serve.delete("automask")

    def events(self) -> list[dict[str, Any]]:
        """Everything that replicas logged, those of killed nodes too."""
        files = self._folder.glob("session_*/logs/worker-*.err")
        lines = {line for file in files for line in file.read_text().splitlines() if line.startswith("{")}
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """End all of it."""
        serve.shutdown()
        ray.shutdown()
        for node in reversed(self.nodes):
            with suppress(psutil.NoSuchProcess):
                node.kill()


@contextmanager
def multi_node_cluster(*, port: int, grpc_port: int, http_port: int) -> Iterator[MultiNodeCluster]:
    """Run a cluster until the block ends."""
    # Short: a Unix socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rl-", ignore_cleanup_errors=True) as folder:
        cluster = MultiNodeCluster(Path(folder), port=port, grpc_port=grpc_port, http_port=http_port)
        try:
            yield cluster
        finally:
            cluster.end()
