"""Graphs that stay open: all small ones, and the last ones of those that are large together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automask import cpu_graphs
from automask.cpu_graphs import OpenedGraphs


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> tuple[OpenedGraphs, list[str]]:
    """Graphs of which a hundred bytes may be open, and the names of those that were opened."""
    names: list[str] = []

    def open_graph(path: Path, precision: str) -> Any:
        names.append(path.name)
        return precision

    monkeypatch.setattr(cpu_graphs, "_MOST_OPEN", 100)
    return OpenedGraphs(open_graph), names


def test_a_graph_is_opened_again_only_where_others_took_its_room(
    opened: tuple[OpenedGraphs, list[str]], tmp_path: Path
) -> None:
    graphs, names = opened
    for name, size in (("a", 10), ("a.data", 30), ("b", 50), ("c", 30), ("d", 30)):
        (tmp_path / name).write_bytes(bytes(size))
    for name in ("a", "b", "a", "b", "a"):
        graphs.get(tmp_path / name, "fp32")
    assert names == ["a", "b"]
    graphs.get(tmp_path / "c", "fp32")  # in the place of b, which was used before a
    graphs.get(tmp_path / "a", "fp32")
    assert names == ["a", "b", "c"]
    graphs.get(tmp_path / "d", "fp16")  # counts twice, because it is opened in float32
    graphs.get(tmp_path / "c", "fp32")
    assert names == ["a", "b", "c", "d", "c"]


def test_a_graph_larger_than_the_room_is_opened(opened: tuple[OpenedGraphs, list[str]], tmp_path: Path) -> None:
    graphs, _ = opened
    (tmp_path / "large").write_bytes(bytes(200))
    assert str(graphs.get(tmp_path / "large", "int8")) == "int8"
