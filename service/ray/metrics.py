"""Numbers that leave a replica through Ray's own agent, which Prometheus asks on every node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, TypeAlias

from ray.serve.metrics import Counter, Gauge, Histogram

from ..errors import StoreError
from ..telemetry.metrics import Count, Metrics, Spread

__all__ = ["RayMetrics"]

_Instrument: TypeAlias = Any  # Counter or Histogram, of which each has what the other has not
_EVERY_SECONDS = 5.0  # as often as Ray's agent asks


class RayMetrics(Metrics):
    """The same names as on one box, with ``ray_`` before them; Ray adds application, deployment and replica."""

    def __init__(self) -> None:
        self._readers: list[Callable[[], None]] = []
        super().__init__()
        Thread(target=self._read, name="automask-metrics", daemon=True).start()

    def count(self, name: str, text: str, *labels: str) -> Count:
        """Make a counter."""
        return _Labelled(Counter(name, text, labels), labels)

    def spread(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Spread:
        """Make a histogram."""
        return _Labelled(Histogram(name, text, list(bounds), labels), labels)

    def read(self, name: str, text: str, values: Callable[[], Iterable[tuple[str, float]]], label: str = "") -> None:
        """Have a gauge or a counter filled in every few seconds."""
        labels = (label,) if label else ()
        told: dict[str, float] = {}
        gauge = None if name.endswith("_total") else Gauge(name, text, labels)
        counter = Counter(name.removesuffix("_total"), text, labels) if gauge is None else None

        def tell() -> None:
            for value, number in values():
                tags = {label: value} if label else {}
                if gauge is not None:
                    gauge.set(number, tags)
                elif counter is not None and number > told.get(value, 0.0):
                    counter.inc(number - told.get(value, 0.0), tags)
                    told[value] = number

        self._readers.append(tell)

    def _read(self) -> None:
        while True:
            time.sleep(_EVERY_SECONDS)
            for tell in [*self._readers]:
                with suppress(StoreError):
                    tell()


class _Labelled:
    """One of Ray's instruments with the values of its labels."""

    def __init__(self, instrument: _Instrument, labels: Sequence[str], tags: dict[str, str] | None = None) -> None:
        self._instrument, self._labels, self._tags = instrument, labels, tags or {}

    def labels(self, *values: str) -> _Labelled:
        return _Labelled(self._instrument, self._labels, dict(zip(self._labels, values, strict=True)))

    def inc(self) -> None:
        self._instrument.inc(tags=self._tags)

    def observe(self, amount: float) -> None:
        self._instrument.observe(amount, tags=self._tags)
