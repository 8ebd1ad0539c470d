"""The command `automask export`: its help, and the steps before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from automask.export.architectures import architecture_names, find_architecture
from automask.export.cli import export

# Fails on the import of what is not installed without the extra `export`.
WITHOUT_TORCH = """\
import sys
for name in ("torch", "transformers", "optimum", "onnx", "onnxslim"):
    sys.modules[name] = None
from automask.cli import main
main(prog_name="automask")
"""


def run_without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, check=False
    )


def test_each_folder_is_a_command() -> None:
    folders = Path(__file__).parents[2] / "export" / "architectures"
    assert architecture_names() == sorted(path.parent.name.replace("_", "-") for path in folders.glob("*/__init__.py"))
    assert {"clipseg", "embedded"} <= set(architecture_names())


@pytest.mark.parametrize("name", architecture_names())
def test_each_architecture_has_the_common_options(name: str) -> None:
    architecture = find_architecture(name)
    assert architecture is not None
    assert {"output", "force"} <= {option.name for option in architecture.options}


@pytest.mark.parametrize("name", ["", *architecture_names()])
def test_help_works_without_torch(name: str) -> None:
    ran = run_without_torch("export", *name.split(), "--help")
    assert ran.returncode == 0, ran.stderr
    assert "--output" in ran.stdout or "clipseg" in ran.stdout


def test_an_unknown_architecture_is_wrong_usage() -> None:
    ran = CliRunner().invoke(export, ["yolo"])
    assert ran.exit_code == 2
    assert "No such command 'yolo'" in ran.output


def test_clipseg_requires_an_output() -> None:
    ran = CliRunner().invoke(export, ["clipseg"])
    assert ran.exit_code == 2
    assert "Missing option '--output'" in ran.output


def test_a_missing_checkpoint_is_refused_without_torch(tmp_path: Path) -> None:
    ran = run_without_torch("export", "clipseg", "--model", "no/such/folder", "-o", str(tmp_path / "bundle"))
    assert ran.returncode == 1
    assert "no checkpoint 'no/such/folder'" in ran.stderr


def test_an_existing_output_is_refused_without_torch(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    ran = run_without_torch("export", "clipseg", "-o", str(tmp_path))
    assert ran.returncode == 1
    assert "exists and is no bundle" in ran.stderr


def test_embedded_names_the_package_that_is_missing(tmp_path: Path) -> None:
    ran = run_without_torch("export", "embedded", "-o", str(tmp_path / "bundle"), "--sources", str(tmp_path))
    assert ran.returncode == 1
    assert "this export needs onnx: pip install 'automask[export]'" in ran.stderr
    assert not (tmp_path / "bundle").exists()
