"""Capacity plans: how many servers a rate of calls needs, and what a million masks cost."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from .queueing import Queue, Work
from .tables import digits, table

HOSTED_PER_CALL = 0.001
"""Approximate dollars per call of the hosted API, by its vendor."""
_SECONDS_PER_HOUR = 3600
_COLUMNS = ("calls/s", "cached", "prompts", "servers", "busy", "waits, ms", "p50, ms", "p95, ms", "$ per million masks")


def fewest_servers(rate: float, work: Work, *, most_busy: float = 0.7, p95: float = inf) -> Queue:
    """Return the queue with the fewest servers that meets both limits.

    Parameters
    ----------
    rate
        Calls a second.
    work
        What a call costs.
    most_busy
        Highest utilisation, 0 to 1.
    p95
        Seconds within which 95 of 100 calls must be answered.

    Raises
    ------
    ValueError
        No number of servers answers 95 of 100 calls that quickly.
    """
    least = Queue(0.0, work, 1).latency(0.95)
    if least > p95:
        raise ValueError(f"p95 must be {least:.3f} s or more, the time of a call without any wait, got {p95}")
    servers = max(1, int(rate * work.mean / most_busy))
    while (queue := Queue(rate, work, servers)).utilisation > most_busy or queue.latency(0.95) > p95:
        servers += 1
    return queue


def dollars_per_million(queue: Queue, price: float) -> float:
    """Return the dollars for a million masks if a server costs `price` an hour and the rate is constant."""
    return 1e6 * price * queue.servers / (queue.rate * queue.work.prompts * _SECONDS_PER_HOUR)


def plan_table(queues: Sequence[Queue], price: float) -> str:
    """Format one row for each queue; `price` is in dollars an hour for a server."""
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
            digits(dollars_per_million(queue, price)),
        ]
        for queue in queues
    ]
    return table(_COLUMNS, rows)
