"""OpenTelemetry spans, if the extra `otel` is installed; configured by the ``OTEL_…`` variables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time_ns

from automask.errors import MissingDependencyError

from .timings import Timings

try:
    from opentelemetry import propagate, trace
except ImportError:
    _tracer = None
else:
    _tracer = trace.get_tracer("automask.service")

__all__ = ["configure_tracing", "span", "trace_stages"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure_tracing() -> None:
    """Send spans over OTLP to the endpoint in the environment; do nothing without one.

    Raises
    ------
    MissingDependencyError
        There is an endpoint, and the extra is not installed.
    """
    endpoint = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependencyError(f"{endpoint} is set, and spans need: pip install 'automask[otel]'") from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override this name.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "automask"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, attributes: Mapping[str, str], carrier: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run the block inside a span.

    Parameters
    ----------
    name, attributes
        Name and attributes of the span.
    carrier
        Metadata of a call; its trace context becomes the parent. None for a span inside the server.
    """
    if _tracer is None:
        yield
        return
    parent = propagate.extract(carrier) if carrier else None
    kind = trace.SpanKind.SERVER if carrier is not None else trace.SpanKind.INTERNAL
    with _tracer.start_as_current_span(name, context=parent, kind=kind, attributes=dict(attributes)):
        yield


def trace_stages(timings: Timings) -> None:
    """Add the stages of a task, measured on a worker thread, to the current span, as if they had ended just now."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return
    stages = {"queue": timings.queue_ms, **timings.stages_ms}
    start = time_ns() - round(sum(stages.values()) * 1e6)
    for stage, ms in stages.items():
        end = start + round(ms * 1e6)
        _tracer.start_span(stage, start_time=start).end(end_time=end)
        start = end
