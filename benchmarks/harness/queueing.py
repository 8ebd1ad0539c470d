"""A queueing model of the service: utilisation, waiting time and latency of M/G/c.

A call waits in one queue for one of c servers, runs there, and takes some time outside both. The time of a pass of the
model is measured; everything else follows from it. The simulation of the question `capacity` checks the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf
from typing import Any


@dataclass(frozen=True, slots=True)
class Pass:
    """The time of one pass of the model over the prompts of one photo: `fixed + each * prompts` seconds.

    Attributes
    ----------
    fixed, each
        Seconds, fitted to measurements.
    factors
        How single passes spread around that line: equally likely factors, 1 on average.
    """

    fixed: float
    each: float
    factors: tuple[float, ...] = (1.0,)

    @classmethod
    def fitted(cls, times: Mapping[int, Sequence[float]]) -> Pass:
        """Fit a line by least squares to seconds by number of prompts; the spread is that of the fewest prompts."""
        points = [(prompts, second) for prompts, seconds in times.items() for second in seconds]
        x_mean = sum(x for x, _ in points) / len(points)
        y_mean = sum(y for _, y in points) / len(points)
        variance = sum((x - x_mean) ** 2 for x, _ in points)
        each = max(0.0, sum((x - x_mean) * (y - y_mean) for x, y in points) / variance if variance else 0.0)
        fewest = sorted(times[min(times)])
        mean = sum(fewest) / len(fewest)
        return cls(y_mean - each * x_mean, each, tuple(second / mean for second in fewest))

    def seconds(self, prompts: int) -> float:
        """Return the mean seconds of a pass."""
        return self.fixed + self.each * prompts

    def gain(self, prompts: int) -> float:
        """Return the throughput in masks of passes of `prompts` prompts, relative to passes of one."""
        return prompts * self.seconds(1) / self.seconds(prompts)

    def sped_up(self, times: float) -> Pass:
        """Return the same pass on hardware that is `times` times as fast."""
        return Pass(self.fixed / times, self.each / times, self.factors)


@dataclass(frozen=True)
class Work:
    """What one call costs a server, as measured.

    Attributes
    ----------
    new, cached
        A pass over a photo that was not seen before, and over one whose encoding is cached.
    call
        Seconds of a call outside the queue and the pass.
    hits
        Share of calls whose photo is cached, 0 to 1.
    prompts
        Prompts of a call, one mask each.
    """

    new: Pass
    cached: Pass
    call: float = 0.0
    hits: float = 0.0
    prompts: int = 1

    @classmethod
    def measured(cls, setup: Mapping[str, Any], *, hits: float = 0.0, prompts: int = 1) -> Work:
        """Read the work of one server from one of the `setups` in the figures of the question `capacity`."""
        new, cached = (
            Pass(one["fixed"], one["each"], tuple(one["factors"])) for one in (setup["new"], setup["cached"])
        )
        return cls(new, cached, setup["call"], hits, prompts)

    def sped_up(self, times: float) -> Work:
        """Return the same work on a server that is `times` times as fast."""
        return Work(self.new.sped_up(times), self.cached.sped_up(times), self.call, self.hits, self.prompts)

    @cached_property
    def times(self) -> list[tuple[float, float]]:
        """The distribution of a pass: (probability, seconds)."""
        kinds = ((1 - self.hits, self.new), (self.hits, self.cached))
        return [
            (share / len(kind.factors), factor * kind.seconds(self.prompts))
            for share, kind in kinds
            for factor in kind.factors
            if share
        ]

    @cached_property
    def mean(self) -> float:
        """Mean seconds of a pass."""
        return sum(share * seconds for share, seconds in self.times)

    @cached_property
    def variation(self) -> float:
        """Squared coefficient of variation of a pass: 0 for a constant, 1 for the exponential distribution."""
        return sum(share * seconds**2 for share, seconds in self.times) / self.mean**2 - 1


def erlang_c(load: float, servers: int) -> float:
    """Return the probability that a call has to wait in M/M/c.

    Parameters
    ----------
    load
        Arrival rate times mean service time, in Erlang.
    servers
        c; must be more than `load`.

    Notes
    -----
    By the recursion of Erlang's B, which neither overflows nor loses digits: Kleinrock, Queueing Systems, volume 1
    (1975), section 3.5 and 3.6.
    """
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - (load / servers) * (1 - blocked))


@dataclass(frozen=True)
class Queue:
    """One queue in front of c equal servers, with Poisson arrivals and any service time: M/G/c.

    Attributes
    ----------
    rate
        Calls a second.
    work
        What a call costs.
    servers
        c.
    """

    rate: float
    work: Work
    servers: int

    @cached_property
    def utilisation(self) -> float:
        """Share of time in which a server is busy. From 1 on the queue grows without end."""
        return self.rate * self.work.mean / self.servers

    @cached_property
    def delayed(self) -> float:
        """Probability that a call has to wait."""
        return 1.0 if self.utilisation >= 1 else erlang_c(self.rate * self.work.mean, self.servers)

    @cached_property
    def wait(self) -> float:
        """Mean seconds in the queue over all calls, also those that do not wait.

        Notes
        -----
        Allen and Cunneen: the wait of M/M/c times (1 + squared coefficient of variation) / 2. Exact for M/M/c and for
        M/G/1, where it is Pollaczek and Khinchine's formula. A. O. Allen, Probability, Statistics, and Queueing Theory
        with Computer Science Applications, 2nd edition (1990), chapter 5.
        """
        if self.utilisation >= 1:
            return inf
        exponential = self.delayed * self.work.mean / (self.servers * (1 - self.utilisation))
        return exponential * (1 + self.work.variation) / 2

    def within(self, seconds: float) -> float:
        """Return the probability that a call is answered in time, if the wait of those that wait is exponential."""
        delayed, wait = self.delayed, self.wait
        left = [(share, seconds - self.work.call - took) for share, took in self.work.times]
        return sum(
            share * (1 - (delayed * exp(-rest * delayed / wait) if wait else 0.0)) for share, rest in left if rest >= 0
        )

    def latency(self, quantile: float) -> float:
        """Return the seconds within which this share of calls, 0 to 1, is answered."""
        if self.utilisation >= 1:
            return inf
        low, high = 0.0, self.work.call + max(seconds for _, seconds in self.work.times)
        while self.within(high) < quantile:
            low, high = high, 2 * high
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.within(middle) < quantile else (low, middle)
        return high
