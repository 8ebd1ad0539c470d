"""Timing: all contenders take turns in one run; the figures are medians and quartiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import perf_counter

import numpy as np

Spread = dict[str, float]
"""Summary of a list of figures: `median`, the quartiles `q1` and `q3`, `p95`, `p99`, and their number, `n`."""

Contender = Callable[[int], object]
"""Does the work once. The argument is the number of the round, so that all contenders do the same work in it."""

_QUANTILES = {"median": 50, "q1": 25, "q3": 75, "p95": 95, "p99": 99}


def spread(figures: Sequence[float]) -> Spread:
    """Summarise figures, rounded to a thousandth."""
    values = np.percentile(figures, list(_QUANTILES.values()))
    return {name: round(float(value), 3) for name, value in zip(_QUANTILES, values, strict=True)} | {"n": len(figures)}


def time_in_turns(
    contenders: Mapping[str, Contender], rounds: int, *, warm: int = 1, seconds: float = inf
) -> dict[str, Spread]:
    """Time contenders in turn, A B A B, so that other load on the machine slows all of them alike.

    Parameters
    ----------
    contenders
        By name.
    rounds
        How often each is timed, after `warm` rounds that do not count.
    seconds
        Time limit: a contender that has used more than this in total, and was timed at least once, drops out.

    Returns
    -------
    Milliseconds by contender.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    spent = dict.fromkeys(contenders, 0.0)
    for number in range(-warm, rounds):
        for name, work in contenders.items():
            if times[name] and spent[name] > seconds:
                continue
            start = perf_counter()
            work(number)
            took = perf_counter() - start
            spent[name] += took
            if number >= 0 or took > seconds:
                times[name].append(took * 1e3)
    return {name: spread(ms) for name, ms in times.items()}


def measure_in_turns(
    jobs: Mapping[str, Callable[[int], Mapping[str, float]]], rounds: int, *, warm: int = 1
) -> dict[str, dict[str, Spread]]:
    """Run jobs that return their own figures in turn, and summarise each figure.

    Parameters
    ----------
    jobs
        By name. Each is called with the number of the round and returns the same keys every time.
    rounds
        How many rounds count, after `warm` rounds that do not.
    """
    runs: dict[str, list[Mapping[str, float]]] = {name: [] for name in jobs}
    for number in range(-warm, rounds):
        for name, work in jobs.items():
            figures = work(number)
            if number >= 0:
                runs[name].append(figures)
    return {name: {key: spread([one[key] for one in ran]) for key in ran[0]} for name, ran in runs.items()}


def speedup(slow: Spread, fast: Spread) -> float:
    """Return the ratio of the medians: how many times as fast the second is."""
    return slow["median"] / fast["median"]
