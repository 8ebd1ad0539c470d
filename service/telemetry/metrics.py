"""What is counted in a server, and how Prometheus asks for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from automask import Segmenter

from ..errors import StoreError
from .timings import Timings

__all__ = ["Count", "Metrics", "PrometheusMetrics", "Spread"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Count(Protocol):
    """Something that only grows."""

    def labels(self, *values: str) -> Count:
        """Give the one with these values of its labels."""

    def inc(self) -> None:
        """Count one more."""


class Spread(Protocol):
    """How numbers are spread."""

    def labels(self, *values: str) -> Spread:
        """Give the one with these values of its labels."""

    def observe(self, amount: float) -> None:
        """Count a number."""


class Metrics(ABC):
    """Counters and histograms of one server, and whatever else is read when somebody asks."""

    def __init__(self) -> None:
        self.calls = self.count("automask_calls", "Calls by method and outcome (gRPC code)", "method", "code")
        self.call_seconds = self.spread(
            "automask_call_seconds", "Time of a call, from its first to its last byte", _SECONDS, "method"
        )
        self.requests = self.count("automask_requests", "Submitted requests by how they ended", "state")
        self.batch_size = self.spread("automask_batch_size", "Tasks in one pass of a model", (1, 2, 4, 8, 16, 32))
        self._wait = self.spread("automask_wait_seconds", "Time in the queue of the engine", _SECONDS)
        self._inference = self.spread(
            "automask_inference_seconds", "Time of the work itself, encoding the answer included", _SECONDS
        )
        self._stage = self.spread("automask_stage_seconds", "Time of one stage", _SECONDS, "stage")

    @abstractmethod
    def count(self, name: str, text: str, *labels: str) -> Count:
        """Make a counter."""

    @abstractmethod
    def spread(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Spread:
        """Make a histogram."""

    @abstractmethod
    def read(self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = "") -> None:
        """Have a gauge, or a counter where the name ends in ``_total``, filled in whenever somebody asks.

        Parameters
        ----------
        name, text
            Name and meaning.
        values
            Gives (value of the label, number) pairs.
        label
            Name of the label; without one, `values` gives a single pair.
        """

    def read_caches(self, segmenters: Mapping[str, Segmenter]) -> None:
        """Have it told what the caches of models had, and what not."""
        for name, text, field in (
            ("automask_cache_hits_total", "Encodings that the cache had", "hits"),
            ("automask_cache_misses_total", "Encodings that had to be made", "misses"),
            ("automask_cache_bytes", "Bytes in the cache", "bytes"),
        ):
            self.read(
                name,
                text,
                lambda field=field: [  # type: ignore[misc]  # mypy takes no default for a callable without arguments
                    (model, getattr(one.cache_info(), field)) for model, one in [*segmenters.items()]
                ],
                "model",
            )

    def observe(self, timings: Timings) -> None:
        """Count one answered task."""
        self._wait.observe(timings.queue_ms / 1e3)
        self._inference.observe(timings.inference_ms / 1e3)
        for stage, ms in timings.stages_ms.items():
            if stage != "total":
                self._stage.labels(stage).observe(ms / 1e3)


class PrometheusMetrics(Metrics):
    """What Prometheus may ask this process.

    Attributes
    ----------
    registry
        What it is told.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        super().__init__()

    def count(self, name: str, text: str, *labels: str) -> Count:
        """Make a counter."""
        return Counter(name, text, labels, registry=self.registry)

    def spread(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Spread:
        """Make a histogram."""
        return Histogram(name, text, labels, registry=self.registry, buckets=bounds)

    def read(self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = "") -> None:
        """Have a gauge or a counter filled in whenever Prometheus asks."""
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
