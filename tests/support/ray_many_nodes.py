"""A Ray cluster of several nodes on one machine, each of which can be killed with all its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import psutil
import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.deployment import Application

from automask.service.ray.cluster import FUNCTIONS

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # else Ray writes a token into the home folder
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(32 << 20),  # one limit for all applications behind Ray Serve's proxies
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",  # on a busy machine, a proxy takes longer than the usual 5 s
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""What Ray's processes read when they start."""

_STARTED = "Ray runtime started."


class Node:
    """A Ray node with all processes that it starts. It has joined its cluster once the constructor returns.

    Raises
    ------
    RuntimeError
        The node did not start; the message holds its output.
    """

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=100000000"]
        self._process = subprocess.Popen(
            [*command, "--disable-usage-stats", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._output = cast("IO[str]", self._process.stdout)
        lines: list[str] = []
        for line in self._output:
            lines.append(line)
            if _STARTED in line:
                return  # the few lines that follow fit into the pipe
        self.kill()
        raise RuntimeError(f"the Ray node did not start: {''.join(lines)}")

    def stop(self) -> None:
        """End it as `ray stop` does: it leaves the cluster at once, where a dead one is noticed after 20 seconds."""
        self._process.terminate()
        self._process.wait()
        self._output.close()

    def kill(self) -> None:
        """Kill all its processes with -9, as a power loss would."""
        if self._process.poll() is None:
            root = psutil.Process(self._process.pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
        self._output.close()


class MultiNodeCluster:
    """A head node with the proxies and without replicas, and nodes with one logical CPU each."""

    def __init__(self, folder: Path, *, port: int, grpc_port: int, http_port: int) -> None:
        os.environ.update(ENVIRONMENT)
        self._folder, self._head, self.address = folder, f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}"
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}")
        self.nodes = [Node("--node-ip-address=127.0.0.1", *head)]
        ray.init(self._head, _node_ip_address="127.0.0.1", log_to_driver=False, logging_level="error")
        serve.start(
            proxy_location="HeadOnly",
            http_options=HTTPOptions(port=http_port),
            grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=list(FUNCTIONS)),
        )

    def join(self) -> Node:
        """Start another node. One at a time: two that start at once may choose the same ports."""
        node = Node("--node-ip-address=127.0.0.1", f"--address={self._head}", "--num-cpus=1")
        self.nodes.append(node)
        return node

    @contextmanager
    def serving(self, application: Application) -> Iterator[None]:
        """Serve an application until the block ends."""
        serve.run(application, name="automask", route_prefix="/automask")
        try:
            yield
        finally:
            serve.delete("automask")

    def events(self) -> list[dict[str, Any]]:
        """Return the events that all replicas logged, also those on killed nodes."""
        files = self._folder.glob("session_*/logs/worker-*.err")
        lines = {line for file in files for line in file.read_text().splitlines() if line.startswith("{")}
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Stop Ray Serve, and kill all nodes."""
        serve.shutdown()
        ray.shutdown()
        for node in reversed(self.nodes):
            node.kill()


@contextmanager
def multi_node_cluster(*, port: int, grpc_port: int, http_port: int) -> Iterator[MultiNodeCluster]:
    """Run a cluster until the block ends."""
    # A short prefix: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rl-", ignore_cleanup_errors=True) as folder:
        cluster = MultiNodeCluster(Path(folder), port=port, grpc_port=grpc_port, http_port=http_port)
        try:
            yield cluster
        finally:
            cluster.close()
