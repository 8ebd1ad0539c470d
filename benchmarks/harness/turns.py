"""How everything here is timed and shown: all contenders by turns in one run, medians and quartiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from time import perf_counter

import numpy as np

Spread = dict[str, float]
"""Of a list of figures: `median`, the quartiles `q1` and `q3`, `p95`, `p99`, and how many they were, `n`."""

Contender = Callable[[int], object]
"""Does the work once; it is told the number of the round, so that all do the same work in it."""

_QUANTILES = {"median": 50, "q1": 25, "q3": 75, "p95": 95, "p99": 99}


def spread(figures: Sequence[float]) -> Spread:
    """Say how figures are spread, to a thousandth."""
    values = np.percentile(figures, list(_QUANTILES.values()))
    return {name: round(float(value), 3) for name, value in zip(_QUANTILES, values, strict=True)} | {"n": len(figures)}


def by_turns(
    contenders: Mapping[str, Contender], rounds: int, *, warm: int = 1, seconds: float = inf
) -> dict[str, Spread]:
    """Time contenders in turn, A B A B, so that a busy machine slows all alike.

    Parameters
    ----------
    contenders
        By name.
    rounds
        How often each is timed, after `warm` rounds that do not count.
    seconds
        A contender that has taken longer than this in all, and was timed at least once, takes part no more.

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


def figures_by_turns(
    jobs: Mapping[str, Callable[[int], Mapping[str, float]]], rounds: int
) -> dict[str, dict[str, Spread]]:
    """Let those take turns that measure themselves, after one round that does not count; spread each of their figures.

    Parameters
    ----------
    jobs
        By name; each is told the number of the round, and gives the same figures every time.
    rounds
        How many rounds count.
    """
    runs: dict[str, list[Mapping[str, float]]] = {name: [] for name in jobs}
    for turn in range(-1, rounds):
        for name, work in jobs.items():
            said = work(turn)
            if turn >= 0:
                runs[name].append(said)
    return {name: {key: spread([one[key] for one in ran]) for key in ran[0]} for name, ran in runs.items()}


def times_as_fast(slow: Spread, fast: Spread) -> float:
    """Ratio of medians."""
    return slow["median"] / fast["median"]


def show(ms: Spread) -> str:
    """Median and quartiles, three digits each: `171 (168–175)`."""
    if ms["n"] == 1:
        return digits(ms["median"])
    return f"{digits(ms['median'])} ({digits(ms['q1'])}–{digits(ms['q3'])})"


def digits(figure: float) -> str:
    """Round to three digits, without an exponent."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def target(measured: float, aim: float, *, at_least: bool) -> str:
    """Show a ratio beside what was aimed at, and say where it is missed."""
    met = measured >= aim if at_least else measured <= aim
    sign = "≥" if at_least else "≤"
    return f"{digits(measured)} ({sign} {aim:g}{'' if met else ', missed'})"
