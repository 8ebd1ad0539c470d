"""Metrics of a replica, exported by Ray's agent, which Prometheus scrapes on every node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, TypeAlias

from ray.serve.metrics import Counter, Gauge, Histogram

from ..errors import StoreError
from ..telemetry.metrics import CounterLike, HistogramLike, Metrics

__all__ = ["RayMetrics"]

_Instrument: TypeAlias = Any  # Counter or Histogram; they have no common type with the methods used here
_INTERVAL_SECONDS = 5.0  # that of Ray's agent


class RayMetrics(Metrics):
    """The metrics of `Metrics`, with the prefix ``ray_``; Ray adds application, deployment and replica as labels."""

    def __init__(self) -> None:
        self._exports: list[Callable[[], None]] = []
        super().__init__()
        Thread(target=self._export, name="automask-metrics", daemon=True).start()

    def counter(self, name: str, text: str, *labels: str) -> CounterLike:
        """Return a new counter."""
        return _Labelled(Counter(name, text, labels), labels)

    def histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> HistogramLike:
        """Return a new histogram."""
        return _Labelled(Histogram(name, text, list(bounds), labels), labels)

    def register(
        self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = ""
    ) -> None:
        """Add a gauge or a counter that is read every few seconds."""
        labels = (label,) if label else ()
        counted: dict[str, float] = {}
        gauge = None if name.endswith("_total") else Gauge(name, text, labels)
        counter = Counter(name.removesuffix("_total"), text, labels) if gauge is None else None

        def export() -> None:
            for value, number in values():
                tags = {label: value} if label else {}
                if gauge is not None:
                    gauge.set(number, tags)
                elif counter is not None and number > counted.get(value, 0.0):
                    counter.inc(number - counted.get(value, 0.0), tags)
                    counted[value] = number

        self._exports.append(export)

    def _export(self) -> None:
        while True:
            time.sleep(_INTERVAL_SECONDS)
            for export in [*self._exports]:
                with suppress(StoreError):
                    export()


class _Labelled:
    """A counter or histogram of Ray with values for its labels."""

    def __init__(self, instrument: _Instrument, labels: Sequence[str], tags: dict[str, str] | None = None) -> None:
        self._instrument, self._labels, self._tags = instrument, labels, tags or {}

    def labels(self, *values: str) -> _Labelled:
        return _Labelled(self._instrument, self._labels, dict(zip(self._labels, values, strict=True)))

    def inc(self) -> None:
        self._instrument.inc(tags=self._tags)

    def observe(self, amount: float) -> None:
        self._instrument.observe(amount, tags=self._tags)
