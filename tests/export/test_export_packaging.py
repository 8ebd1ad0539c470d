"""The wheel holds every source file, and a new architecture needs no more than its folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
# Where each source folder is in the wheel.
PACKAGES = {
    "runtime": "automask",
    "export": "automask/export",
    "service": "automask/service",
    "proto/automask/v1": "automask/v1",
}
DUMMY = '''\
"""An architecture for this test."""

from pathlib import Path

import click

from automask.export.architecture import Architecture, force_option, output_option
from automask.export.figures import Figure, Report

from .weights import WEIGHTS


def _build(output, *, force, progress, gain):
    progress(f"gain {gain}")
    output.mkdir()
    (output / "weights.bin").write_bytes(WEIGHTS)
    words = Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
    return Report([Figure(words.strip(), 0.5, 1.0)], {"fp32": "nothing"})


ARCHITECTURE = Architecture(
    help="Export a dummy.",
    options=(output_option(), click.Option(["--gain"], type=int, default=2), force_option()),
    build=_build,
)
'''


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree with one more architecture."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = copy / "export" / "architectures" / "new_dummy"
    folder.mkdir()
    (folder / "__init__.py").write_text(DUMMY, encoding="utf-8")
    (folder / "weights.py").write_text('WEIGHTS = b"12345"\n', encoding="utf-8")
    (folder / "words.toml").write_text("# words of the dummy\n", encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def installed(tree: Path) -> Path:
    """The folder of the unpacked wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "."]
    subprocess.run([*command, "."], cwd=tree, check=True, capture_output=True, text=True)
    (wheel,) = tree.glob("automask-*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(tree / "installed")
    return tree / "installed"


def automask(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "automask", *arguments]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("source", PACKAGES)
def test_every_source_file_is_in_the_wheel(source: str, tree: Path, installed: Path) -> None:
    files = {path.relative_to(tree / source) for path in (tree / source).rglob("*.py")}
    missing = {path for path in files if not (installed / PACKAGES[source] / path).is_file()}
    assert files
    assert not missing, "add the folder to [tool.setuptools] packages in pyproject.toml"


def test_data_files_of_an_architecture_are_in_the_wheel(installed: Path) -> None:
    architectures = installed / "automask" / "export" / "architectures"
    assert (installed / "automask" / "export" / "words" / "sets" / "coco.toml").is_file()
    assert (architectures / "new_dummy" / "words.toml").is_file()


def test_the_command_line_lists_a_new_architecture(installed: Path) -> None:
    listed = automask(installed, "export", "--help")
    assert listed.returncode == 0, listed.stderr
    assert re.search(r"new-dummy +Export a dummy\.", listed.stdout)
    assert "clipseg" in listed.stdout


def test_the_command_line_runs_a_new_architecture(installed: Path, tmp_path: Path) -> None:
    ran = automask(installed, "export", "new-dummy", "-o", str(tmp_path / "bundle"), "--gain", "3")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "gain 3"
    assert "words of the dummy" in ran.stdout
    assert "fp32 is judged by nothing" in ran.stdout
    assert (tmp_path / "bundle" / "weights.bin").read_bytes() == b"12345"
