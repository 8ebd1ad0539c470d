"""Observation of calls over gRPC and HTTP: a log line, metrics, and whether any call still runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import grpc
import structlog

from .metrics import Metrics
from .redaction import describe_error

__all__ = ["Observer", "Outcome"]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """How a call ended; the code that handles the call sets it.

    Attributes
    ----------
    method
        The method, or the HTTP method and route.
    code
        The gRPC code, also for HTTP.
    error
        The error that the call ended with, if any.
    """

    method: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: BaseException | None = None


class Observer:
    """Counts, times and logs calls.

    Parameters
    ----------
    metrics
        Counts and times the calls.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no call runs."""
        await self._idle.wait()

    @contextmanager
    def observe(self, method: str, request_id: str) -> Iterator[Outcome]:
        """Observe one call: everything inside the block."""
        started, outcome = perf_counter(), Outcome(method)
        structlog.contextvars.bind_contextvars(request_id=request_id, method=method)
        self._running += 1
        self._idle.clear()
        try:
            yield outcome
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            self._record(outcome, perf_counter() - started)

    def _record(self, outcome: Outcome, seconds: float) -> None:
        self._metrics.calls.labels(outcome.method, outcome.code.name).inc()
        self._metrics.call_seconds.labels(outcome.method).observe(seconds)
        fields = {} if outcome.error is None else {"error": describe_error(outcome.error)}
        _log.info("call", method=outcome.method, code=outcome.code.name, ms=round(1e3 * seconds, 2), **fields)
