"""The counts, tables and picture of the question `cluster`. That the stores lose nothing, their own tests check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.timing import spread
from questions import cluster
from questions.cluster.clients import Completed, phases, points
from questions.cluster.setup import CALLS
from questions.cluster.tables import COUNTS
from report import PICTURES

COMPLETED = [
    Completed(number, str(number), submitted, completed, np.zeros((1, 1), np.uint8))
    for number, (submitted, completed) in enumerate([(0.0, 0.5), (0.4, 1.5), (1.2, 1.4), (3.0, 3.25)])
]
LOAD = {"per_second": 20.0, **spread([50.0]), "errors": 0}
RUN: dict[str, Any] = {
    **dict.fromkeys(COUNTS, 4),
    "events": {"killed": 1.0, "PostgreSQL is back": 2.0},
    "ms": phases(COMPLETED, 1.0, 2.0),
    "points": points(COMPLETED),
}
FIGURES: dict[str, Any] = {
    "kill": {"plain": RUN, "Ray": RUN},
    "overhead": {
        f"{engine}: {call}": spread([ms])
        for engine, ms in (("SQLite", 1.0), ("PostgreSQL", 2.0), ("Ray, PostgreSQL", 5.0))
        for call in CALLS
    },
    "throughput": {"stand-in": {"1": LOAD, "2": LOAD}, "embedded": {"1": LOAD}},
    "sticky": {"sticky": {**LOAD, "hits": 0.9}, "anywhere": {**LOAD, "hits": 0.4}},
}


def test_requests_are_grouped_by_the_events() -> None:
    found = RUN["ms"]
    assert {name: one["n"] for name, one in found.items()} == {"before": 1, "during": 2, "after": 1}
    assert (found["before"]["median"], found["after"]["median"]) == (500, 250)


def test_points_are_in_the_order_of_completion() -> None:
    assert RUN["points"] == "0.50:500 1.40:200 1.50:1100 3.25:250"


def test_tables() -> None:
    shown = cluster.markdown(FIGURES)
    assert "| plain | 4 | 4 | 4 | 4 | 4 | 4 | 500; 500 |" in shown
    assert "Ray adds 3.00 ms to `Generate` and 3.00 ms to `Submit`" in shown
    assert "| upper limit of the stand-in | 20.0 | 40.0 |" in shown
    assert "| embedded | 20.0 | – |" in shown
    assert "| sticky | 90% | 20.0 | 50.0 |" in shown


def test_a_picture_knows_the_figures_it_was_drawn_from(tmp_path: Path) -> None:
    answers = {"cluster": {"figures": FIGURES}}
    picture, file = PICTURES["docs/cluster.svg"], tmp_path / "cluster.svg"
    picture.draw(answers, file)
    assert picture.is_current(answers, file)
    assert not picture.is_current({"cluster": {"figures": {**FIGURES, "sticky": {}}}}, file)
