"""Imports between the folders run in one direction, the core knows no wire format, and the map names every room."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"

LOAD_CORE = """
import pkgutil, sys
from importlib import import_module
from automask.service import core
for module in pkgutil.iter_modules(core.__path__):
    import_module(f"automask.service.core.{module.name}")
print([name for name in sys.modules if name.startswith(("google.protobuf", "automask.v1", "automask.service.wire"))])
"""


def imported_rooms(path: Path, part: Path) -> Iterator[str]:
    """Folders and top modules of a part that a file imports from, also for types alone."""
    depth = len(path.relative_to(part).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]


@pytest.mark.parametrize(
    ("name", "room", "imported"),
    [("service", "wire", "core"), ("export", "cli", "architecture"), ("runtime", "loading", "segmenter")],
)
def test_no_two_rooms_import_each_other(name: str, room: str, imported: str) -> None:
    part = ROOT / name
    rooms: dict[str, set[str]] = {}
    for path in part.rglob("*.py"):
        if path.relative_to(part).parts[0] != "__init__.py":
            own = path.relative_to(part).parts[0].removesuffix(".py")
            rooms.setdefault(own, set()).update(set(imported_rooms(path, part)) - {own})
    assert imported in rooms[room], "imports are found"
    TopologicalSorter(rooms).prepare()  # raises CycleError


@pytest.mark.parametrize("part", ["runtime", "export", "service"])
def test_the_map_names_every_room_and_no_other(part: str) -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    table = re.search(rf"## {part}/.*?\n\n(\|.*?)\n\n", page, re.DOTALL)
    assert table
    named = [name for row in table[1].splitlines()[2:] for name in re.findall("`([^`]+)`", row.split("|")[1])]
    entries = [path for path in (ROOT / part).iterdir() if not path.name.startswith("_")]
    rooms = [f"{path.name}/" for path in entries if path.is_dir()] + [p.stem for p in entries if p.suffix == ".py"]
    assert sorted(named) == sorted(rooms)


def test_the_core_loads_neither_protobuf_nor_the_wire() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD_CORE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
