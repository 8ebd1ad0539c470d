"""A client for both servers that measures its calls: the vendor's own client, timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from automask.errors import MissingDependencyError

from ..errors import UnavailableError
from ..http.schema import SLUG

__all__ = ["Measurements", "TimedClient"]

_POLL_SECONDS = 0.05


@dataclass
class Measurements:
    """Times and costs of calls of one kind to one server, one number per call.

    Attributes
    ----------
    latency
        Seconds from the call to its response.
    server
        Seconds reported by the server; shorter if the server does not report them for every call.
    cost
        Cost reported by the server, in US dollars; shorter likewise.
    """

    latency: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)

    def add(self, latency: float, server: object, cost: object) -> None:
        """Add one call; `server` and `cost` count only if they are numbers or the text of one."""
        self.latency.append(latency)
        for numbers, reported in ((self.server, server), (self.cost, cost)):
            try:
                numbers.append(float(str(reported)))
            except ValueError:
                continue

    def summary(self) -> dict[str, Any]:
        """Return p50 and p95 in milliseconds; None for values that the server does not report for every call.

        Network time is latency minus server time. For asynchronous calls it is a lower bound, because the server works
        while its acknowledgement and the next poll are in transit.
        """
        complete = len(self.server) == len(self.latency)
        network = [whole - part for whole, part in zip(self.latency, self.server, strict=True)] if complete else []
        return {
            "latency_ms": _quantiles(self.latency),
            "server_ms": _quantiles(self.server) if complete else None,
            "network_ms": _quantiles(network) if complete else None,
            "cost_per_1000": 1000 * sum(self.cost) / len(self.cost) if len(self.cost) == len(self.latency) else None,
        }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(seconds, (50, 95))
    return {"p50": round(1e3 * p50, 2), "p95": round(1e3 * p95, 2)}


class TimedClient:
    """Calls one server through the vendor's client, synchronously and asynchronously.

    Parameters
    ----------
    name
        Name of the server in messages.
    url
        Base URL, ending in ``/v1``.
    api_key
        API key for the server.

    Raises
    ------
    MissingDependencyError
        The vendor's client is not installed.
    """

    def __init__(self, name: str, url: str, api_key: str) -> None:
        try:
            from segmind import SegmindClient
        except ImportError as error:
            raise MissingDependencyError(
                "comparing with the hosted API needs its own client: pip install segmind"
            ) from error
        self.name, self.url = name, url
        self.sync, self.asynchronous = Measurements(), Measurements()
        self._client = SegmindClient(api_key, base_url=url)

    def generate(self, parameters: Mapping[str, Any]) -> bytes:
        """Make one blocking call and return the mask.

        Raises
        ------
        UnavailableError
            The server does not respond, or responds with an error.
        """
        latency, response = self._time(lambda: self._client.run_sync(SLUG, **parameters))
        self.sync.add(latency, response.headers.get("x-generation-time"), response.headers.get("x-cost"))
        return bytes(response.content)

    def submit_and_poll(self, parameters: Mapping[str, Any]) -> None:
        """Submit one request and poll until the URL of its mask is available.

        Raises
        ------
        UnavailableError
            The server does not respond, or responds with an error.
        """
        latency, body = self._time(lambda: self._client.submit_async(SLUG, **parameters).wait(interval=_POLL_SECONDS))
        metrics = body.get("metrics") or {}
        self.asynchronous.add(latency, metrics.get("total_time"), metrics.get("cost"))

    def _time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        import httpx
        from segmind.exceptions import SegmindError

        start = perf_counter()
        try:
            response = call()
        except SegmindError as error:
            raise UnavailableError(
                f"{self.name} ({self.url}) responds with an error {error.status or ''}: {error.detail}"
            ) from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self.name} ({self.url}) does not respond: {error}") from error
        return perf_counter() - start, response

    def close(self) -> None:
        """Close the connections."""
        self._client._client.close()  # noqa: SLF001 (the vendor's client has no close)

    def summary(self) -> dict[str, Any]:
        """Return the URL and all measurements."""
        return {"url": self.url, "sync": self.sync.summary(), "async": self.asynchronous.summary()}
