"""`automask serve --engine ray`: a cluster that is started or joined, the application on it, and its end."""

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
from ..rpc.listen import bind, join
from .api import check_nodes, deploy
from .inference import SLACK_SECONDS

__all__ = ["FUNCTIONS", "NAME", "run"]

NAME: Final = "automask"
"""Of the application."""

FUNCTIONS: Final = (
    "automask.v1.mask_service_pb2_grpc.add_MaskServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""What Ray Serve's gRPC proxy is told of."""

_LOOK_SECONDS = 0.25

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends it at once.

    Raises
    ------
    AutomaskError
        It cannot start.
    """
    # Ray's processes read these as they start; nothing is told to its makers unless somebody says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SERVE_GRPC_MAX_MESSAGE_SIZE", str(settings.max_message_bytes))
    is_mine = _join_or_start()
    stopping = Event()
    previous = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        check_nodes(settings)
        _start_proxies(settings)
        _deploy(settings, stopping)
        stopping.wait()
        for number in previous:
            signal.signal(number, signal.SIG_DFL)  # who asks again does not want to wait
        _log.info("draining")
        _drain(settings)
    finally:
        if is_mine:
            serve.shutdown()
        ray.shutdown()
    _log.info("stopped")


def _join_or_start() -> bool:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine; else start one, and tell so."""
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
    """Have every node listen."""
    if serve.status().proxies:
        _log.info("loading", note="Ray Serve runs here already, and listens where it was told then", pid=os.getpid())
        return
    http_host, wanted = ("127.0.0.1", 0) if settings.http_port is None else (settings.host, settings.http_port)
    port, http_port = _free(settings, settings.port), _free(settings, wanted)
    serve.start(
        proxy_location="EveryNode",
        # Serve's proxies always speak HTTP; who did not ask for it finds it nowhere but on the node itself.
        http_options=HTTPOptions(host=http_host, port=http_port),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=list(FUNCTIONS)),
    )
    _log.info("loading", address=join(settings.host, port), http=join(http_host, http_port), pid=os.getpid())


def _free(settings: Settings, port: int) -> int:
    """Find a port where 0 stands for any; raise where something listens on it already."""
    probes = bind(settings, port)
    taken: int = probes[0].getsockname()[1]
    for probe in probes:
        probe.close()
    return taken


def _deploy(settings: Settings, stopping: Event) -> None:
    """Wait until the application runs, but no longer than until it shall stop."""
    target = serve.RunTarget(deploy(settings), name=NAME)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    while not stopping.wait(_LOOK_SECONDS):
        told = serve.status().applications.get(NAME)
        if told is None:
            continue
        if told.status == ApplicationStatus.RUNNING:
            _log.info("serving", pid=os.getpid())
            return
        if told.status in {ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY}:
            raise UnavailableError(_explain(told))


def _explain(told: Any) -> str:  # noqa: ANN401 (Ray does not export the class)
    """Find the sentence in what Ray tells of an application that does not start."""
    texts = [one.message for one in told.deployments.values() if one.message] or [told.message]
    lines = [line.strip() for line in texts[0].splitlines() if line.strip()]
    return f"Ray Serve cannot deploy it: {next((line for line in reversed(lines) if 'rror: ' in line), lines[0])}"


def _drain(settings: Settings) -> None:
    """Have every replica refuse calls and end what runs, then take the application away."""
    patience = settings.drain + SLACK_SECONDS
    try:
        handle: DeploymentHandle[Any] = serve.get_app_handle(NAME)
        handle.broadcast("drain").results(timeout_s=patience)
    except Exception as error:  # noqa: BLE001 (whatever it is, what comes next ends it all the same)
        _log.warning("the replicas did not drain", problem=str(error))
    serve.delete(NAME)
