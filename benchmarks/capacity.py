"""How many replicas a rate of requests takes, how long they wait, and what a million masks cost: a model of a queue.

A call waits in one queue for one of c servers, is worked on, and costs some time besides on its way in and out. How
long a pass of the model takes is measured (`offered.py`), everything else follows. `simulation.py` checks the formulas.

    python benchmarks/capacity.py --rate 50 --price 0.53
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf
from pathlib import Path
from typing import Any

from harness.machine import ROOT
from harness.turns import digits, table

HOSTED_PER_CALL = 0.001
"""Dollars that the vendor of the hosted API says a call costs, about."""
FIGURES = ROOT / "benchmarks" / "results" / "capacity.json"
_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Pass:
    """How long one pass of the model takes over the prompts of one photo: `fixed + each * prompts` seconds.

    Attributes
    ----------
    fixed, each
        Seconds, fitted to what was measured.
    factors
        How single passes are spread about that, equally likely, 1 on average.
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
        across = sum((x - x_mean) ** 2 for x, _ in points)
        each = max(0.0, sum((x - x_mean) * (y - y_mean) for x, y in points) / across if across else 0.0)
        lone = sorted(times[min(times)])
        mean = sum(lone) / len(lone)
        return cls(y_mean - each * x_mean, each, tuple(second / mean for second in lone))

    def seconds(self, prompts: int) -> float:
        """Seconds on average."""
        return self.fixed + self.each * prompts

    def gain(self, prompts: int) -> float:
        """How many times as many masks a second passes of so many prompts give as passes of one."""
        return prompts * self.seconds(1) / self.seconds(prompts)


@dataclass(frozen=True)
class Work:
    """What one server does, as measured.

    Attributes
    ----------
    new, cached
        A pass over a photo that was not seen before, and over one whose encoding is cached.
    call
        Seconds that a call takes outside the queue and the pass.
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

    @cached_property
    def times(self) -> list[tuple[float, float]]:
        """Seconds of a pass, with their probability."""
        kinds = ((1 - self.hits, self.new), (self.hits, self.cached))
        return [
            (share / len(kind.factors), factor * kind.seconds(self.prompts))
            for share, kind in kinds
            for factor in kind.factors
            if share
        ]

    @cached_property
    def mean(self) -> float:
        """Seconds of a pass on average."""
        return sum(share * seconds for share, seconds in self.times)

    @cached_property
    def variation(self) -> float:
        """Squared coefficient of variation of those: 0 where all are alike, 1 where they are exponential."""
        return sum(share * seconds**2 for share, seconds in self.times) / self.mean**2 - 1


def delayed(load: float, servers: int) -> float:
    """Probability that a call has to wait in M/M/c: Erlang's C formula.

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
    """One queue before c equal servers, Poisson arrivals, any service time: M/G/c.

    Attributes
    ----------
    rate
        Calls a second.
    work
        What a call takes.
    servers
        c.
    """

    rate: float
    work: Work
    servers: int

    @cached_property
    def utilisation(self) -> float:
        """Share of time in which a server is busy; from 1 on the queue grows without end."""
        return self.rate * self.work.mean / self.servers

    @cached_property
    def delayed(self) -> float:
        """Probability that a call has to wait."""
        return 1.0 if self.utilisation >= 1 else delayed(self.rate * self.work.mean, self.servers)

    @cached_property
    def wait(self) -> float:
        """Mean seconds in the queue, those included that do not wait.

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
        """Probability that a call is answered within so many seconds, if those that wait do so exponentially."""
        delayed, wait = self.delayed, self.wait
        left = [(share, seconds - self.work.call - took) for share, took in self.work.times]
        return sum(
            share * (1 - (delayed * exp(-rest * delayed / wait) if wait else 0.0)) for share, rest in left if rest >= 0
        )

    def latency(self, quantile: float) -> float:
        """Seconds within which this share of calls is answered, 0 to 1."""
        if self.utilisation >= 1:
            return inf
        low, high = 0.0, self.work.call + max(seconds for _, seconds in self.work.times)
        while self.within(high) < quantile:
            low, high = high, 2 * high
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.within(middle) < quantile else (low, middle)
        return high


def needed(rate: float, work: Work, *, most_busy: float = 0.7, p95: float = inf) -> Queue:
    """Find the fewest servers that are busy for no more than this share of time and keep p95 within these seconds.

    Raises
    ------
    ValueError
        No number of servers answers 95 of 100 calls that quickly.
    """
    least = Queue(0.0, work, 1).latency(0.95)
    if least > p95:
        raise ValueError(f"p95 must be {least:.3f} s or more, what a call takes without any wait, got {p95}")
    servers = max(1, int(rate * work.mean / most_busy))
    while (queue := Queue(rate, work, servers)).utilisation > most_busy or queue.latency(0.95) > p95:
        servers += 1
    return queue


def per_million(queue: Queue, price: float) -> float:
    """Dollars for a million masks, if a server costs this `price` an hour and the rate holds all day."""
    return 1e6 * price * queue.servers / (queue.rate * queue.work.prompts * _SECONDS_AN_HOUR)


def measured(figures: Mapping[str, Any], *, hits: float = 0.0, prompts: int = 1) -> Work:
    """Take the work of one server from one of the `setups` in the figures of the question `capacity`."""
    new, cached = (
        Pass(one["fixed"], one["each"], tuple(one["factors"])) for one in (figures["new"], figures["cached"])
    )
    return Work(new, cached, figures["call"], hits, prompts)


def planned(queues: Sequence[Queue], price: float) -> str:
    """Lay out what each takes."""
    columns = [
        "calls/s",
        "cached",
        "prompts",
        "servers",
        "busy",
        "waits, ms",
        "p50, ms",
        "p95, ms",
        "$ per million masks",
    ]
    rows = [
        [
            f"{queue.rate:,g}",
            f"{queue.work.hits:.0%}",
            queue.work.prompts,
            f"{queue.servers:,}",
            f"{queue.utilisation:.0%}",
            digits(1e3 * queue.wait),
            digits(1e3 * queue.latency(0.5)),
            digits(1e3 * queue.latency(0.95)),
            digits(per_million(queue, price)),
        ]
        for queue in queues
    ]
    return table(columns, rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--price", type=float, required=True, help="dollars an hour for what one server runs on")
    parser.add_argument("--hits", type=float, default=0.0, help="share of calls on a cached photo (default: 0)")
    parser.add_argument("--prompts", type=int, default=1, help="prompts of a call (default: 1)")
    parser.add_argument("--p95", type=float, default=inf, help="seconds that 95 of 100 calls may take (default: any)")
    parser.add_argument("--busy", type=float, default=0.7, help="most of the time a server may be busy (default: 0.7)")
    parser.add_argument("--faster", type=float, default=1.0, help="a server of yours is so many times as fast")
    parser.add_argument(
        "--figures", type=Path, default=FIGURES, help="what was measured (default: results/capacity.json)"
    )
    arguments = parser.parse_args()
    figures = json.loads(arguments.figures.read_text())["figures"]
    setup = next(iter(figures["setups"].values()))
    work = sped_up(measured(setup, hits=arguments.hits, prompts=arguments.prompts), arguments.faster)
    try:
        queue = needed(arguments.rate, work, most_busy=arguments.busy, p95=arguments.p95)
    except ValueError as error:
        parser.error(str(error))
    print(planned([queue], arguments.price))
    print(f"The hosted API: ${1e6 * HOSTED_PER_CALL:,.0f} per million calls.")


def sped_up(work: Work, times: float) -> Work:
    """Give the same work on a server that is so many times as fast."""
    new, cached = (Pass(one.fixed / times, one.each / times, one.factors) for one in (work.new, work.cached))
    return Work(new, cached, work.call, work.hits, work.prompts)


if __name__ == "__main__":
    main()
