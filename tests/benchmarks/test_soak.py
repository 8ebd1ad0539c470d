"""The soak runs, with every kind of attack; how long calls take is for the machine that it is made for."""

from __future__ import annotations

from pathlib import Path

from soak import describe, soak


def test_good_clients_are_answered_beside_an_attacker(tmp_path: Path) -> None:
    figures = soak(tmp_path, seconds=2, good=2, attackers=1, pause=0.0, only="")
    for load in (figures["alone"], figures["beside"]):
        assert load["n"] > 0
        assert load["errors"] == 0
        assert "0 errors" in describe(load)
    assert figures["answers"]
    assert all(value > 0 for moment in ("start", "end") for value in figures[moment].values())
