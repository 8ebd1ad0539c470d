"""The files of a graph: a large one has its weights in a file of their own beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from automask.bundle import data_file

__all__ = ["LARGEST", "copy_graph"]

LARGEST = 1 << 30
"""Bytes of the largest graph whose weights are inside. Below 2 GiB, because ONNX Runtime maps a file of weights into
memory instead of copying them."""


def copy_graph(source: Path, target: Path) -> None:
    """Copy a graph; it finds its file of weights by its name, so that both names must be the same.

    Raises
    ------
    ValueError
        There is a file of weights, and the names differ.
    """
    shutil.copyfile(source, target)
    data = data_file(source)
    if data.is_file():
        if source.name != target.name:
            raise ValueError(f"the graph {source} names its weights {data.name}; it cannot become {target.name}")
        shutil.copyfile(data, data_file(target))
