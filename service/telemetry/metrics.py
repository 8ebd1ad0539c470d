"""The metrics of a server, and their export to Prometheus."""

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

__all__ = ["CounterLike", "HistogramLike", "Metrics", "PrometheusMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class CounterLike(Protocol):
    """A counter of any metrics library."""

    def labels(self, *values: str) -> CounterLike:
        """Return the counter for these values of the labels."""

    def inc(self) -> None:
        """Add one."""


class HistogramLike(Protocol):
    """A histogram of any metrics library."""

    def labels(self, *values: str) -> HistogramLike:
        """Return the histogram for these values of the labels."""

    def observe(self, amount: float) -> None:
        """Add a value."""


class Metrics(ABC):
    """Counters and histograms of one server, and values that are read at each export."""

    def __init__(self) -> None:
        self.calls = self.counter("automask_calls", "Calls by method and outcome (gRPC code)", "method", "code")
        self.call_seconds = self.histogram(
            "automask_call_seconds", "Time of a call, from its first to its last byte", _SECONDS, "method"
        )
        self.requests = self.counter("automask_requests", "Submitted requests by how they ended", "state")
        self.batch_size = self.histogram("automask_batch_size", "Tasks in one pass of a model", (1, 2, 4, 8, 16, 32))
        self._wait = self.histogram("automask_wait_seconds", "Time in the queue of the engine", _SECONDS)
        self._inference = self.histogram(
            "automask_inference_seconds", "Time of the work itself, including encoding the response", _SECONDS
        )
        self._stage = self.histogram("automask_stage_seconds", "Time of one stage", _SECONDS, "stage")

    @abstractmethod
    def counter(self, name: str, text: str, *labels: str) -> CounterLike:
        """Return a new counter."""

    @abstractmethod
    def histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> HistogramLike:
        """Return a new histogram."""

    @abstractmethod
    def register(
        self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = ""
    ) -> None:
        """Add a gauge, or a counter if its name ends in ``_total``, whose values are read at each export.

        Parameters
        ----------
        name, text
            Name and description.
        values
            Returns pairs of a label's value and a number.
        label
            Name of the label; empty for a single number, whose label value is ignored.
        """

    def register_caches(self, segmenters: Mapping[str, Segmenter]) -> None:
        """Add the hits, misses and sizes of the caches of models."""
        for name, text, field in (
            ("automask_cache_hits_total", "Encodings found in the cache", "hits"),
            ("automask_cache_misses_total", "Encodings not found in the cache", "misses"),
            ("automask_cache_bytes", "Bytes in the cache", "bytes"),
            ("automask_gpu_cache_bytes", "Bytes in the cache in GPU memory", "gpu_bytes"),
        ):
            self.register(
                name,
                text,
                lambda field=field: [  # type: ignore[misc]  # mypy takes no default for a callable without arguments
                    (model, getattr(one.cache_info(), field)) for model, one in [*segmenters.items()]
                ],
                "model",
            )

    def observe(self, timings: Timings) -> None:
        """Add the timings of one task."""
        self._wait.observe(timings.queue_ms / 1e3)
        self._inference.observe(timings.inference_ms / 1e3)
        for stage, ms in timings.stages_ms.items():
            if stage != "total":
                self._stage.labels(stage).observe(ms / 1e3)


class PrometheusMetrics(Metrics):
    """Metrics that Prometheus scrapes from this process.

    Attributes
    ----------
    registry
        All metrics of the process.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        super().__init__()

    def counter(self, name: str, text: str, *labels: str) -> CounterLike:
        """Return a new counter."""
        return Counter(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> HistogramLike:
        """Return a new histogram."""
        return Histogram(name, text, labels, registry=self.registry, buckets=bounds)

    def register(
        self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = ""
    ) -> None:
        """Add a gauge or a counter that is read at each scrape."""
        self.registry.register(_OnScrape(name, text, values, label))


class _OnScrape(Collector):
    def __init__(self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str) -> None:
        self._name, self._text, self._values, self._labels = name, text, values, [label] if label else []

    def collect(self) -> Iterable[Metric]:
        kind = CounterMetricFamily if self._name.endswith("_total") else GaugeMetricFamily
        family = kind(self._name, self._text, labels=self._labels)
        # If the store cannot be read, the other metrics must still be exported.
        with suppress(StoreError):
            for label, value in self._values():
                family.add_metric([label] if self._labels else [], value)
        yield family
