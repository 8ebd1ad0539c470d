"""Imports between the folders of the service run in one direction, and its core knows no wire format."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

SERVICE = Path(__file__).parents[2] / "service"

LOAD_CORE = """
import pkgutil, sys
from importlib import import_module
from automask.service import core
for module in pkgutil.iter_modules(core.__path__):
    import_module(f"automask.service.core.{module.name}")
print([name for name in sys.modules if name.startswith(("google.protobuf", "automask.v1", "automask.service.wire"))])
"""


def imported_rooms(path: Path) -> Iterator[str]:
    """Folders and top modules of the service that a file imports from, also for types alone."""
    depth = len(path.relative_to(SERVICE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]


def test_no_two_folders_import_each_other() -> None:
    rooms: dict[str, set[str]] = {}
    for path in SERVICE.rglob("*.py"):
        if path.name != "__init__.py":
            room = path.relative_to(SERVICE).parts[0].removesuffix(".py")
            rooms.setdefault(room, set()).update(set(imported_rooms(path)) - {room})
    assert "core" in rooms["wire"], "imports are found"
    TopologicalSorter(rooms).prepare()  # raises CycleError


def test_the_core_loads_neither_protobuf_nor_the_wire() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD_CORE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
