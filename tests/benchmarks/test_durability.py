"""The durability benchmark with fewer kills: no acknowledged request is lost, run twice or answered wrongly."""

from __future__ import annotations

from pathlib import Path

from questions import durability

ROUNDS = 10  # the benchmark kills a hundred times


def test_no_acknowledged_request_is_lost_or_done_twice(tmp_path: Path) -> None:
    report = durability.run(ROUNDS, seed=0, folder=tmp_path, most=60)
    assert (report.lost, report.doubled, report.wrong) == (0, 0, 0), report
    assert report.acknowledged == report.completed + report.given_up
    assert report.acknowledged > 10 * ROUNDS
    assert report.tried_again > 0, "the server was killed at work"
