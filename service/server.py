"""The server of `automask serve`: start, load, serve, drain."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from automask import MissingDependencyError, Segmenter
from automask.devices import DEVICES
from automask.v1 import mask_service_pb2
from automask.v1.mask_pb2 import MaskResponse

from .assembly import Components
from .cancellation import StoppedError, run_until
from .config.settings import Settings
from .core.backend import add_model
from .core.device_watch import DeviceWatch
from .core.engine import Engine
from .core.loading import load_model, open_decoder
from .decoding.pool import DecoderPool
from .errors import UnavailableError
from .rpc.listen import listen, server_options
from .rpc.messages import add_servicer
from .rpc.unsent import UnsentAnswers
from .sockets import format_address, tls_context, without_brackets
from .telemetry.exporter import Exporter
from .telemetry.metrics import PrometheusMetrics
from .wire.responses import write_response

if TYPE_CHECKING:
    from .http.server import HttpServer

__all__ = ["Server", "run"]

SERVICE = mask_service_pb2.DESCRIPTOR.services_by_name["MaskService"].full_name

_FLUSH_SECONDS = 1.0  # for the last responses to leave
_RETRY_SECONDS = 5.0  # while a device is gone
_STATUS = health_pb2.HealthCheckResponse

_log = structlog.get_logger(__name__)


class Server:
    """A server with its models, its store and its keys. It listens for gRPC, and for HTTP if a port is set.

    Parameters
    ----------
    settings
        The settings.

    Attributes
    ----------
    address
        The address for gRPC, ``host:port``; empty before `start`.
    http_address
        The address for HTTP; empty before `start` and without `http_port`.
    metrics_address
        The address for Prometheus; empty before `load` and without `metrics_port`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = PrometheusMetrics()
        self._components = Components(settings, self._metrics)
        self._engine: Engine[MaskResponse] | None = None
        self._decoder: DecoderPool | None = None
        self._exporter: Exporter | None = None
        self._watch: DeviceWatch | None = None
        self._http: HttpServer | None = None
        self._models: tuple[str, ...] = ()
        self._is_stopping = False
        self.address = self.http_address = self.metrics_address = ""

    async def start(self) -> None:
        """Listen. Until `load` is done, health is NOT_SERVING, and calls are refused with UNAVAILABLE.

        Raises
        ------
        UnavailableError
            An address is in use, or cannot be bound.
        ParameterError
            A certificate or its key is invalid.
        OSError
            A certificate or its key cannot be read.
        """
        self._grpc = grpc.aio.server(options=server_options(self._settings.max_message_bytes))
        self._health = health.aio.HealthServicer()
        add_servicer(self._components.servicer, self._grpc)
        self._components.servicer.middleware.unsent = UnsentAnswers(self._components.in_flight)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        await self._set_health(_STATUS.NOT_SERVING)
        self.address = listen(self._grpc, self._settings)
        await self._grpc.start()
        if self._settings.http_port is not None:
            await self._start_http(self._settings.http_port)

    async def _start_http(self, port: int) -> None:
        try:
            from .http.server import HttpServer
        except ImportError as error:
            raise MissingDependencyError(f"{error}; for HTTP: pip install 'automask[http]'") from error
        parts = self._components
        http = HttpServer(self._settings, parts.operations, parts.observer, parts.in_flight)
        await http.start(port, grpc_port=int(self.address.rpartition(":")[2]))
        self._http, self.http_address = http, http.address

    async def load(self) -> None:
        """Load the models, run each of them once, start to work on stored requests, and accept calls.

        Raises
        ------
        AutomaskError
            A model cannot be loaded, or the port for metrics is in use.
        """
        segmenters = await asyncio.to_thread(self._load_models)
        self._models = tuple(segmenters)
        self._watch = DeviceWatch(segmenters, self._show_lost)
        engine = Engine(
            segmenters,
            workers=self._settings.workers or _workers(segmenters),
            spare_threads=self._settings.decode_processes,
            max_queue=self._settings.max_queue,
            max_batch=self._settings.max_batch,
            batch_wait=self._settings.batch_wait_ms / 1e3,
            write=write_response,
            metrics=self._metrics,
            on_device_loss=self._watch.report_failure,
        )
        self._engine = engine
        self._publish_metrics(engine, segmenters)
        self._components.open(engine)
        await self._show_lost(frozenset())

    def _load_models(self) -> dict[str, Segmenter]:
        settings = self._settings
        segmenters: dict[str, Segmenter] = {}
        self._decoder = open_decoder(settings)
        for model in settings.model:
            if self._is_stopping:
                break  # loading cannot be interrupted, and the process would wait for the others
            segmenter = load_model(model, settings, threads=settings.threads, decoder=self._decoder)
            add_model(segmenters, segmenter.bundle.name, segmenter, settings.model)
        return segmenters

    def _publish_metrics(self, engine: Engine[MaskResponse], segmenters: Mapping[str, Segmenter]) -> None:
        metrics = self._metrics
        metrics.register("automask_queue_depth", "Tasks that wait for a worker", lambda: [("", engine.waiting)])
        metrics.register_caches(segmenters)
        if self._settings.metrics_port is not None:
            self._serve_metrics(self._settings.metrics_port)

    def _serve_metrics(self, port: int) -> None:
        settings = self._settings
        cert, key = settings.tls_cert, settings.tls_key
        tls = tls_context(cert, key, settings.client_ca) if cert and key else None
        authenticate = self._components.authenticate if settings.metrics_auth else None
        try:
            self._exporter = Exporter(
                without_brackets(settings.host), port, self._metrics.registry, tls=tls, authenticate=authenticate
            )
        except OSError as error:
            address = format_address(settings.host, port)
            raise UnavailableError(f"cannot listen on {address} for metrics: {error.strerror}") from error
        self.metrics_address = format_address(settings.host, self._exporter.port)

    async def stop(self) -> None:
        """Drain: refuse new calls, finish running ones, leave queued requests in the store."""
        drain = self._settings.drain
        self._is_stopping = True
        if self._watch is not None:
            await self._watch.stop()
        await self._set_health(_STATUS.NOT_SERVING)
        # The ports stay open meanwhile: new calls get UNAVAILABLE and a time to retry, where gRPC would send CANCELLED.
        is_idle = await self._components.drain(drain)
        # What still runs are streams of health and reflection, which never end by themselves, or calls out of time.
        stopping = [] if self._http is None else [self._http.stop()]
        await asyncio.gather(self._grpc.stop(min(drain, _FLUSH_SECONDS) if is_idle else None), *stopping)
        await self._components.observer.wait_idle()
        await asyncio.to_thread(self._close)
        await self._components.close()

    def _close(self) -> None:
        if self._exporter is not None:
            self._exporter.close()
        if self._decoder is not None:  # before the engine, which would wait for images that nobody needs any more
            self._decoder.close()
        if self._engine is not None:
            self._engine.close()

    async def _set_health(self, status: int) -> None:
        """Set the health of the server and of each of its models."""
        for service in ("", SERVICE, *map(_model_service, self._models)):
            await self._health.set(service, status)

    async def _show_lost(self, lost: frozenset[str]) -> None:
        """Set the health of each model, and of the server: it serves as long as one model can answer."""
        can_answer = len(lost) < len(self._models)
        await self._set_health(_STATUS.SERVING if can_answer else _STATUS.NOT_SERVING)
        for model in lost:
            await self._health.set(_model_service(model), _STATUS.NOT_SERVING)
        outage = UnavailableError("the device of every model is gone", retry_after=_RETRY_SECONDS)
        self._components.operations.set_outage(None if can_answer else outage)


def _model_service(model: str) -> str:
    return f"{SERVICE}/{model}"


def _workers(segmenters: dict[str, Segmenter]) -> int:
    on_gpu = any(DEVICES[segmenter.device].is_gpu for segmenter in segmenters.values())
    return 2 if on_gpu else (os.cpu_count() or 1)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises
    ------
    AutomaskError
        The server cannot start.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    try:
        await server.start()
        _log.info("loading", address=server.address, http=server.http_address, pid=os.getpid())
        with suppress(StoppedError):
            await run_until(stopping.wait(), server.load())
        if not stopping.is_set():
            _log.info(
                "serving",
                address=server.address,
                http=server.http_address,
                uds=str(settings.uds or ""),
                metrics=server.metrics_address,
                pid=os.getpid(),
            )
        await stopping.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # a second signal ends the process without draining
        _log.info("draining")
    finally:
        await server.stop()
    _log.info("stopped")
