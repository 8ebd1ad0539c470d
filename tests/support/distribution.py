"""A pytest plugin: how `make test` divides the tests between its processes.

Each process gets whole files, which share their servers. Two groups of files stay together, because they share what
takes long to start: the tests of the export, torch; those on Ray, a cluster, whose processes use the processor as long
as it runs. What is quick comes last, so that no process is idle for long at the end.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

EXPORT, RAY = "tests/export", "Ray"

_ON_RAY = re.compile(r"tests/service/(test_ray\.py::|test_(access|generate|requests)\.py::\w+\[(\w+-)?ray\b)")
# After the tests of the export. All others follow in the order in which they are collected.
_LONG = (
    "tests/benchmarks/",
    "tests/docs/test_blocks.py",
    "tests/service/test_store_",
    "tests/service/test_decoding.py",
)
_QUICK = "tests/runtime/"


def group_of(nodeid: str) -> str:
    """Return which tests run in the same process: the name of a group, or a file."""
    if _ON_RAY.match(nodeid):
        return RAY
    return EXPORT if nodeid.startswith(f"{EXPORT}/") else nodeid.partition("::")[0]


def rank_of(nodeid: str) -> int:
    """Return a number by which tests are sorted."""
    group = group_of(nodeid)
    if group in {EXPORT, RAY}:
        return 0 if group == EXPORT else 3
    return 1 if group.startswith(_LONG) else 4 if group.startswith(_QUICK) else 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist's base class
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # which puts the files with most tests first
    return Scheduling(config, log)
