"""What Prometheus may ask of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from automask.v1 import mask_pb2

from .errors import StoreError

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters and histograms of one server, and whatever else is read when Prometheus asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.calls = Counter(
            "automask_calls", "Calls by method and outcome (gRPC code)", ("method", "code"), registry=self.registry
        )
        self.call_seconds = Histogram(
            "automask_call_seconds",
            "Time of a call, from its first to its last byte",
            ("method",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.requests = Counter(
            "automask_requests", "Submitted requests by how they ended", ("state",), registry=self.registry
        )
        self.batch_size = Histogram(
            "automask_batch_size", "Tasks in one pass of a model", registry=self.registry, buckets=(1, 2, 4, 8, 16, 32)
        )
        self._wait = Histogram(
            "automask_wait_seconds", "Time in the queue of the engine", registry=self.registry, buckets=_SECONDS
        )
        self._inference = Histogram(
            "automask_inference_seconds",
            "Time of the work itself, encoding the answer included",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._stage = Histogram(
            "automask_stage_seconds", "Time of one stage", ("stage",), registry=self.registry, buckets=_SECONDS
        )

    def observe(self, timings: mask_pb2.Timings) -> None:
        """Count one answered task."""
        self._wait.observe(timings.queue_ms / 1e3)
        self._inference.observe(timings.inference_ms / 1e3)
        for stage, ms in timings.stages_ms.items():
            if stage != "total":
                self._stage.labels(stage).observe(ms / 1e3)

    def read(self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = "") -> None:
        """Have a gauge, or a counter where the name ends in ``_total``, filled in whenever Prometheus asks.

        Parameters
        ----------
        name, text
            Name and meaning.
        values
            Gives (value of the label, number) pairs.
        label
            Name of the label; without one, `values` gives a single pair.
        """
        self.registry.register(_Read(name, text, values, label))


class _Read(Collector):
    def __init__(self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str) -> None:
        self._name, self._text, self._values, self._labels = name, text, values, [label] if label else []

    def collect(self) -> Iterable[Metric]:
        kind = CounterMetricFamily if self._name.endswith("_total") else GaugeMetricFamily
        family = kind(self._name, self._text, labels=self._labels)
        # Where the store cannot be read, the other numbers are wanted more than ever.
        with suppress(StoreError):
            for label, value in self._values():
                family.add_metric([label] if self._labels else [], value)
        yield family
