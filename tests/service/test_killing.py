"""What the kill runs count and show; that nothing is lost is the tests' of the stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.killing import Answer, phases, points
from harness.picture import PICTURES
from harness.turns import spread
from questions import cluster

ANSWERS = [
    Answer(number, str(number), submitted, answered, np.zeros((1, 1), np.uint8))
    for number, (submitted, answered) in enumerate([(0.0, 0.5), (0.4, 1.5), (1.2, 1.4), (3.0, 3.25)])
]
LOAD = {"per_second": 20.0, **spread([50.0]), "errors": 0}
RUN: dict[str, Any] = {
    **dict.fromkeys(cluster.VERDICT, 4),
    "events": {"killed": 1.0, "PostgreSQL is back": 2.0},
    "ms": phases(ANSWERS, 1.0, 2.0),
    "points": points(ANSWERS),
}
FIGURES: dict[str, Any] = {
    "kill": {"plain": RUN, "Ray": RUN},
    "overhead": {
        f"{place}: {way}": spread([ms])
        for place, ms in (("SQLite", 1.0), ("PostgreSQL", 2.0), ("Ray, PostgreSQL", 5.0))
        for way in cluster.CALLS
    },
    "throughput": {"stand-in": {"1": LOAD, "2": LOAD}, "embedded": {"1": LOAD}},
    "sticky": {"sticky": {**LOAD, "hits": 0.9}, "anywhere": {**LOAD, "hits": 0.4}},
}


def test_requests_belong_to_the_time_before_during_or_after() -> None:
    found = RUN["ms"]
    assert {name: one["n"] for name, one in found.items()} == {"before": 1, "during": 2, "after": 1}
    assert (found["before"]["median"], found["after"]["median"]) == (500, 250)


def test_points_are_in_the_order_of_answers() -> None:
    assert RUN["points"] == "0.50:500 1.40:200 1.50:1100 3.25:250"


def test_the_page_says_what_was_counted() -> None:
    shown = cluster.markdown(FIGURES)
    assert "| plain | 4 | 4 | 4 | 4 | 4 | 4 | 500; 500 |" in shown
    assert "Ray adds 3.00 ms to `Generate` and 3.00 ms to `Submit`" in shown
    assert "| the most that it could give | 20.0 | 40.0 |" in shown
    assert "| embedded | 20.0 | – |" in shown
    assert "| sticky | 90% | 20.0 | 50.0 |" in shown


def test_the_picture_marks_what_happened(tmp_path: Path) -> None:
    answers = {"cluster": {"figures": FIGURES}}
    picture = PICTURES["docs/cluster.svg"]
    picture.draw(answers, tmp_path / "cluster.svg")
    assert picture.is_of(answers, tmp_path / "cluster.svg")
    assert not picture.is_of({"cluster": {"figures": {**FIGURES, "sticky": {}}}}, tmp_path / "cluster.svg")
