"""A discrete-event simulation of the service with simpy, to check the queueing model.

It covers what the formulas leave out: replicas with a queue each and the way calls are spread over them, caches of
limited size, and calls on the same photo that wait together and become one pass.
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import simpy

from harness.queueing import Work

Route = Literal["one queue", "random", "two choices", "sticky"]
Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class System:
    """The system to simulate.

    Attributes
    ----------
    rate
        Calls a second, Poisson.
    work
        What a call costs. Its `hits` are used only without `photos`.
    servers
        Each runs one pass at a time.
    route
        ``"one queue"`` for all servers; or a queue for each, chosen at random (``"random"``), as the shorter of two
        (``"two choices"``), or by the photo (``"sticky"``).
    photos
        The popularity of each photo, in any unit. Empty: no two calls are about the same photo.
    cache
        Photos that a server caches; the least recently used one is dropped first.
    max_batch
        Largest number of waiting calls on one photo that become one pass.
    patience
        A sticky call goes to the shortest queue if its own queue has this many calls more.
    """

    rate: float
    work: Work
    servers: int = 1
    route: Route = "one queue"
    photos: tuple[float, ...] = ()
    cache: int = 0
    max_batch: int = 1
    patience: int = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome: seconds, and shares from 0 to 1.

    Attributes
    ----------
    wait
        Mean seconds in the queue.
    p50, p95
        Latency for the client.
    busy
        Share of time in which a server is busy.
    hits
        Share of passes on a cached photo.
    batch
        Calls in a pass.
    """

    wait: float
    p50: float
    p95: float
    busy: float
    hits: float
    batch: float


@dataclass(slots=True)
class _Call:
    arrived: float
    photo: int


@dataclass
class _Server:
    queue: simpy.Store
    present: int = 0  # calls that wait or run
    seen: OrderedDict[int, None] = field(default_factory=OrderedDict)


class _Simulation:
    def __init__(self, system: System, calls: int, seed: int) -> None:
        self.system, self.calls, self.random = system, calls, Random(seed)  # noqa: S311 (arrivals, no secrets)
        self.env = simpy.Environment()
        shared = simpy.Store(self.env) if system.route == "one queue" else None
        self.servers = [_Server(shared or simpy.Store(self.env)) for _ in range(system.servers)]
        self.popularity = list(accumulate(system.photos))
        self.waits: list[float] = []
        self.latencies: list[float] = []
        self.worked, self.passes, self.hits = 0.0, 0, 0
        self.answered = self.env.event()

    def outcome(self) -> Outcome:
        self.env.process(self._arrive())
        for server in self.servers:
            self.env.process(self._serve(server))
        self.env.run(until=self.answered)
        first = self.calls // 10  # the queue starts empty, which is not its steady state
        p50, p95 = np.percentile(self.latencies[first:], [50, 95])
        return Outcome(
            wait=mean(self.waits[first:]),
            p50=float(p50),
            p95=float(p95),
            busy=self.worked / self.env.now / len(self.servers),
            hits=self.hits / self.passes,
            batch=self.calls / self.passes,
        )

    def _arrive(self) -> Steps:
        for number in range(self.calls):
            yield self.env.timeout(self.random.expovariate(self.system.rate))
            photo = bisect(self.popularity, self.random.random() * self.popularity[-1]) if self.popularity else -number
            server = self._choose_server(photo)
            server.present += 1
            server.queue.put(_Call(self.env.now, photo))

    def _choose_server(self, photo: int) -> _Server:
        route, servers = self.system.route, self.servers
        if route == "two choices" and len(servers) > 1:
            return min(self.random.sample(servers, 2), key=lambda one: one.present)
        if route == "sticky":
            own, shortest = servers[photo % len(servers)], min(servers, key=lambda one: one.present)
            return own if own.present < shortest.present + self.system.patience else shortest
        return self.random.choice(servers)

    def _serve(self, server: _Server) -> Steps:
        while True:
            first: _Call = yield server.queue.get()
            batch = [first, *self._take_same_photo(server.queue, first)]
            started, seconds = self.env.now, self._pass_seconds(server, batch)
            yield self.env.timeout(seconds)
            self.worked += seconds
            self.passes += 1
            server.present -= len(batch)
            for call in batch:
                self.waits.append(started - call.arrived)
                self.latencies.append(self.env.now - call.arrived + self.system.work.call)
            if len(self.waits) == self.calls:
                self.answered.succeed()

    def _take_same_photo(self, queue: simpy.Store, first: _Call) -> list[_Call]:
        """Take calls on the same photo out of the queue; servers that share a queue leave some, as in `Engine`."""
        alike = [call for call in queue.items if call.photo == first.photo]
        sharing = self.system.servers if self.system.route == "one queue" else 1
        alike = alike[: min(self.system.max_batch - 1, len(alike) // sharing)]
        for call in alike:
            queue.items.remove(call)
        return alike

    def _pass_seconds(self, server: _Server, batch: Sequence[_Call]) -> float:
        is_cached = self._is_cached(server, batch[0].photo)
        self.hits += is_cached
        kind = self.system.work.cached if is_cached else self.system.work.new
        return kind.seconds(self.system.work.prompts * len(batch)) * self.random.choice(kind.factors)

    def _is_cached(self, server: _Server, photo: int) -> bool:
        if not self.popularity:
            return self.random.random() < self.system.work.hits
        is_cached = photo in server.seen
        server.seen[photo] = None
        server.seen.move_to_end(photo)
        if len(server.seen) > self.system.cache:
            server.seen.popitem(last=False)
        return is_cached


def simulate(system: System, *, calls: int, seed: int = 0) -> Outcome:
    """Simulate a number of calls, of which the first tenth does not count. The same seed gives the same outcome."""
    return _Simulation(system, calls, seed).outcome()


def simulate_repeatedly(system: System, *, calls: int, runs: int) -> tuple[Outcome, float]:
    """Simulate several times; return the means, and the relative standard error of the mean wait."""
    outcomes = [simulate(system, calls=calls, seed=seed) for seed in range(runs)]
    fields = Outcome.__dataclass_fields__
    middle = Outcome(**{name: mean(getattr(one, name) for one in outcomes) for name in fields})
    waits = [one.wait for one in outcomes]
    return middle, (stdev(waits) / runs**0.5 / middle.wait if middle.wait and runs > 1 else 0.0)
