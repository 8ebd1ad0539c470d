"""docs/service.md and the examples, checked against the service."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import automask
from automask.service import errors as service_errors
from automask.service.config.settings import load_settings
from automask.service.wire.status import TABLE
from automask.v1 import mask_service_pb2 as messages
from support.threaded_server import serving

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "service.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    table = TEXT.split(heading, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_the_table_of_errors_is_that_of_the_service() -> None:
    told = set()
    for _, code, reasons, names in rows("### Errors"):
        for reason, name in zip(reasons.split(", "), re.findall(r"`(\w+)`", names), strict=True):
            kind = getattr(service_errors, name, None) or getattr(automask, name)
            assert TABLE[kind].reason == reason
            assert TABLE[kind].code.name == code.split(",")[0]
            told.add(kind)
    # Never sent: clients that hang up hear nothing any more, and the rest is told at start-up or means a bug.
    silent = {"CancelledError", "StoreError", "BundleError", "BundleNotFoundError", "MissingDependencyError"}
    assert {kind.__name__ for kind in TABLE.keys() - told} == silent


def test_every_method_is_documented() -> None:
    told = {name for cell in rows("## The contract") for name in re.findall(r"`(\w+)`", cell[0])}
    assert told == {method.name for method in messages.DESCRIPTOR.services_by_name["MaskService"].methods}


def test_the_example_settings_are_valid(tmp_path: Path) -> None:
    shown = TEXT.split("```toml\n", 1)[1].split("```", 1)[0]
    path = tmp_path / "automask.toml"
    path.write_text(shown)
    settings = load_settings(path)
    assert settings.model == tuple(tomllib.loads(shown)["model"])
    assert settings.retention == 3600


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server.address


def reflection(*arguments: object) -> subprocess.CompletedProcess[str]:
    script = ROOT / "examples" / "reflection.py"
    return subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_a_reflection_client_lists_every_method(address: str) -> None:
    listing = reflection(address).stdout
    for method in messages.DESCRIPTOR.services_by_name["MaskService"].methods:
        assert f"  {method.name}(" in listing
    assert "grpc.health.v1.Health" in listing


def test_a_reflection_client_gets_the_mask_of_the_library(
    address: str, segmenter: automask.Segmenter, coffee_file: Path, tmp_path: Path
) -> None:
    done = reflection(address, coffee_file, "cup", tmp_path / "cup.png")
    assert "cup 0." in done.stdout, done.stderr
    expected = segmenter.mask(coffee_file, "cup", grow_mask=0).mask
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cup.png")), expected)
