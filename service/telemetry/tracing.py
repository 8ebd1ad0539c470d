"""OpenTelemetry spans, where the extra `otel` is installed; set up by its own ``OTEL_…`` variables."""

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
    """Send spans where the environment says, over OTLP; do nothing where it says nothing.

    Raises
    ------
    MissingDependencyError
        It says so, and the extra is not installed.
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
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the name given here.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "automask"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, attributes: Mapping[str, str], carrier: Mapping[str, str] | None = None) -> Iterator[None]:
    """Put what happens inside into a span.

    Parameters
    ----------
    name, attributes
        Of the span.
    carrier
        Metadata of the call, from which the caller's span is taken.
    """
    if _tracer is None:
        yield
        return
    parent = propagate.extract(carrier) if carrier else None
    kind = trace.SpanKind.SERVER if carrier is not None else trace.SpanKind.INTERNAL
    with _tracer.start_as_current_span(name, context=parent, kind=kind, attributes=dict(attributes)):
        yield


def trace_stages(timings: Timings) -> None:
    """Add what was measured in a worker thread to the current span, as if it had ended just now."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return
    stages = {"queue": timings.queue_ms, **timings.stages_ms}
    start = time_ns() - round(sum(stages.values()) * 1e6)
    for stage, ms in stages.items():
        end = start + round(ms * 1e6)
        _tracer.start_span(stage, start_time=start).end(end_time=end)
        start = end
