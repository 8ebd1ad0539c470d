"""Timing in turns, summaries of figures, and the tables."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tables import table, with_target
from harness.timing import measure_in_turns, spread, time_in_turns


def test_contenders_take_turns_and_get_the_number_of_the_round() -> None:
    calls: list[tuple[str, int]] = []
    found = time_in_turns({name: lambda turn, name=name: calls.append((name, turn)) for name in "AB"}, 2, warm=1)  # type: ignore[misc]
    assert calls == [(name, turn) for turn in (-1, 0, 1) for name in "AB"]
    assert {name: ms["n"] for name, ms in found.items()} == {"A": 2, "B": 2}


def test_a_contender_over_its_time_limit_is_timed_once() -> None:
    calls: list[str] = []
    found = time_in_turns({name: lambda _, name=name: calls.append(name) for name in "AB"}, 5, warm=1, seconds=0)  # type: ignore[misc]
    assert calls == ["A", "B"]
    assert {name: ms["n"] for name, ms in found.items()} == {"A": 1, "B": 1}


def test_jobs_that_measure_themselves_take_turns() -> None:
    calls: list[tuple[str, int]] = []

    def job(name: str, turn: int) -> dict[str, float]:
        calls.append((name, turn))
        return {"ms": turn, "mb": 7}

    found = measure_in_turns({name: partial(job, name) for name in "AB"}, 3)
    assert calls == [(name, turn) for turn in (-1, 0, 1, 2) for name in "AB"]
    for figures in found.values():
        assert (figures["ms"]["median"], figures["ms"]["n"], figures["mb"]["q3"]) == (1, 3, 7)


@given(st.lists(st.floats(0.001, 1e6), min_size=1))
def test_a_spread_is_ordered_and_lies_within_the_figures(figures: list[float]) -> None:
    found = spread(figures)
    assert found["n"] == len(figures)
    ordered = [found[name] for name in ("q1", "median", "q3", "p95", "p99")]
    assert ordered == sorted(ordered)
    assert min(figures) - 0.001 <= ordered[0] <= ordered[-1] <= max(figures) + 0.001
    assert found["median"] == pytest.approx(np.median(figures), abs=0.001)


def test_missed_targets_are_marked() -> None:
    assert with_target(6.93, 5, at_least=True) == "6.93 (≥ 5)"
    assert with_target(4.9, 5, at_least=True) == "4.90 (≥ 5, missed)"
    assert with_target(0.26, 0.4, at_least=False) == "0.26 (≤ 0.4)"
    assert with_target(1550, 1.5, at_least=False) == "1,550 (≤ 1.5, missed)"


def test_tables_are_markdown() -> None:
    assert table(["a", "b"], [[1, "x"], [2, "y"]]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |\n"
