"""The command `automask export`: its help, and the steps before torch is imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Context

from automask.export.architectures import architecture_names, find_architecture
from automask.export.catalogue import entries
from automask.export.cli import export
from support.command_line import CommandProcess, command_process

# Packages that are not installed without the extra `export`.
EXTRA = ("torch", "transformers", "optimum", "onnx", "onnxslim")


@pytest.fixture(scope="module")
def run_without_torch() -> Iterator[CommandProcess]:
    """Run the command line in a process without torch, one for all tests."""
    with command_process(without=EXTRA) as run:
        yield run


def test_each_folder_is_a_command() -> None:
    folders = Path(__file__).parents[2] / "export" / "architectures"
    assert architecture_names() == sorted(path.parent.name.replace("_", "-") for path in folders.glob("*/__init__.py"))
    assert {"clipseg", "embedded"} <= set(architecture_names())


@pytest.mark.parametrize("name", architecture_names())
def test_each_architecture_has_the_common_options(name: str) -> None:
    command = export.get_command(Context(export), name)
    assert command is not None
    assert {"output", "force"} <= {option.name for option in command.params}


@pytest.mark.parametrize("name", ["", *architecture_names()])
def test_help_works_without_torch(run_without_torch: CommandProcess, name: str) -> None:
    ran = run_without_torch("export", *name.split(), "--help")
    assert ran.returncode == 0, ran.stderr
    assert "--output" in ran.stdout or "clipseg" in ran.stdout


def test_each_model_type_belongs_to_one_architecture() -> None:
    found = [find_architecture(name) for name in architecture_names()]
    types = [kind for one in found if one and one.checkpoints for kind in one.checkpoints.model_types]
    assert len(types) == len(set(types))


def test_short_names_are_unique_and_an_architecture_is_its_first_model() -> None:
    names = [entry.name for _, entry in entries()]
    assert len(names) == len(set(names))
    for name in set(names) & set(architecture_names()):
        architecture = find_architecture(name)
        assert architecture is not None
        assert architecture.catalogue[0].name == name


def test_the_list_names_every_model_with_its_licence(run_without_torch: CommandProcess) -> None:
    ran = run_without_torch("export", "--list")
    assert ran.returncode == 0, ran.stderr
    for _, entry in entries():
        for value in (entry.name, entry.hub_id, entry.licence, entry.forbids, entry.good_at, f"{entry.megabytes} MB"):
            assert value in ran.stdout


def test_an_unknown_model_is_refused_with_the_nearest_names(run_without_torch: CommandProcess) -> None:
    ran = run_without_torch("export", "clipsg")
    assert ran.returncode == 1
    assert "no checkpoint 'clipsg'" in ran.stderr
    assert "did you mean 'clipseg'?" in ran.stderr


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", ""])
def test_a_name_that_is_no_file_name_is_refused(run_without_torch: CommandProcess, name: str) -> None:
    ran = run_without_torch("export", "clipseg", "--name", name)
    assert ran.returncode == 1
    assert f"name must have letters, digits, '_', '-' and '.' only, got {name!r}" in ran.stderr


def test_the_name_of_the_built_in_model_is_refused(run_without_torch: CommandProcess) -> None:
    ran = run_without_torch("export", "clipseg", "--name", "default")
    assert ran.returncode == 1
    assert "name must be another one than the built-in model's" in ran.stderr


def test_a_missing_checkpoint_is_refused_without_torch(run_without_torch: CommandProcess, tmp_path: Path) -> None:
    ran = run_without_torch("export", "clipseg", "--model", "no/such/folder", "-o", str(tmp_path / "bundle"))
    assert ran.returncode == 1
    assert "no checkpoint 'no/such/folder'" in ran.stderr


def test_an_existing_output_is_refused_without_torch(run_without_torch: CommandProcess, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    ran = run_without_torch("export", "clipseg", "-o", str(tmp_path))
    assert ran.returncode == 1
    assert "exists and is no bundle" in ran.stderr


def test_embedded_names_the_package_that_is_missing(run_without_torch: CommandProcess, tmp_path: Path) -> None:
    ran = run_without_torch("export", "embedded", "-o", str(tmp_path / "bundle"), "--sources", str(tmp_path))
    assert ran.returncode == 1
    assert "this export needs onnx: pip install 'automask[export]'" in ran.stderr
    assert not (tmp_path / "bundle").exists()
