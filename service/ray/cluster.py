"""`automask serve --engine ray`: join or start a cluster, deploy the application, drain it."""

from __future__ import annotations

import os
import signal
from threading import Event
from typing import Any, Final

import ray
import structlog
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from ..config.settings import Settings
from ..errors import UnavailableError
from ..sockets import bind, format_address
from .api import check_nodes, deploy
from .inference import SLACK_SECONDS

__all__ = ["FUNCTIONS", "NAME", "run"]

NAME: Final = "automask"
"""Name of the application."""

FUNCTIONS: Final = (
    "automask.v1.mask_service_pb2_grpc.add_MaskServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""The gRPC services that Ray Serve's proxy accepts."""

_LOOK_SECONDS = 0.25

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises
    ------
    AutomaskError
        The server cannot start.
    """
    # Ray's processes read these when they start. Usage statistics are off unless the environment turns them on.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_GRPC_MAX_MESSAGE_SIZE", str(settings.max_message_bytes))
    # Ray kills a proxy that is not ready within this; on a busy or slow machine, its 5 seconds are too short.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    was_started = _join_or_start()
    stopping = Event()
    previous = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        check_nodes(settings)
        _start_proxies(settings)
        _deploy(settings, stopping)
        stopping.wait()
        for number in previous:
            signal.signal(number, signal.SIG_DFL)  # a second signal ends the process without draining
        _log.info("draining")
        _drain(settings)
    finally:
        if was_started:
            serve.shutdown()
        ray.shutdown()
    _log.info("stopped")


def _join_or_start() -> bool:
    """Join the cluster at RAY_ADDRESS or on this machine, else start one; return whether one was started."""
    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(address, logging_level="warning")
    except ConnectionError as error:
        if address != "auto":
            raise UnavailableError(f"no Ray cluster at {address} (RAY_ADDRESS): {error}") from error
        address = "local"
        ray.init(address, logging_level="warning", include_dashboard=False)
    return address == "local"


def _start_proxies(settings: Settings) -> None:
    """Make every node listen."""
    if serve.status().proxies:
        _log.info("loading", note="Ray Serve runs already; it keeps the addresses it was started with", pid=os.getpid())
        return
    http_host, wanted = ("127.0.0.1", 0) if settings.http_port is None else (settings.host, settings.http_port)
    port, http_port = _find_port(settings, settings.port, "gRPC"), _find_port(settings, wanted, "HTTP")
    serve.start(
        proxy_location="EveryNode",
        # Serve's proxies always listen for HTTP; without a port in the settings, only on localhost.
        http_options=HTTPOptions(host=http_host, port=http_port),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=list(FUNCTIONS)),
    )
    _log.info(
        "loading",
        address=format_address(settings.host, port),
        http=format_address(http_host, http_port),
        pid=os.getpid(),
    )


def _find_port(settings: Settings, port: int, use: str) -> int:
    """Return the port if it is free, or any free port for 0; raise `UnavailableError` if it is in use."""
    probes = bind(settings.host, port, use=use)
    found: int = probes[0].getsockname()[1]
    for probe in probes:
        probe.close()
    return found


def _deploy(settings: Settings, stopping: Event) -> None:
    """Deploy the application, and wait until it runs or the server is to stop."""
    target = serve.RunTarget(deploy(settings), name=NAME)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    while not stopping.wait(_LOOK_SECONDS):
        status = serve.status().applications.get(NAME)
        if status is None:
            continue
        if status.status == ApplicationStatus.RUNNING:
            _log.info("serving", pid=os.getpid())
            return
        if status.status in {ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY}:
            raise UnavailableError(_explain(status))


def _explain(status: Any) -> str:  # noqa: ANN401 (Ray does not export the class)
    """Return why an application does not start, in one line from Ray's message."""
    texts = [one.message for one in status.deployments.values() if one.message] or [status.message]
    lines = [line.strip() for line in texts[0].splitlines() if line.strip()]
    return f"Ray Serve cannot deploy it: {next((line for line in reversed(lines) if 'rror: ' in line), lines[0])}"


def _drain(settings: Settings) -> None:
    """Make every replica refuse new calls and end running ones, then delete the application."""
    patience = settings.drain + SLACK_SECONDS
    try:
        handle: DeploymentHandle[Any] = serve.get_app_handle(NAME)
        handle.broadcast("drain").results(timeout_s=patience)
    except Exception as error:  # noqa: BLE001 (deleting the application ends the replicas all the same)
        _log.warning("the replicas did not drain", problem=str(error))
    serve.delete(NAME)
