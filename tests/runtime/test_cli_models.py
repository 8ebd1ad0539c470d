"""`automask models`: the built-in models and those of the user; one is removed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import automask
from automask.lookup import locate_bundle, user_bundles
from support.command_line import run_text as run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's bundle folder, with one bundle, "mine", that calls itself something else."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "automask" / "bundles"
    shutil.copytree(locate_bundle("default"), folder / "mine")
    (folder / ".mine.half").mkdir()
    shutil.copy(folder / "mine" / "automask.json", folder / ".mine.half")
    return folder


def test_the_list_has_built_in_and_own_models(folder: Path) -> None:
    listing = run("models")
    assert listing.returncode == 0, listing.stderr
    assert "\nmine: Finds 80 kinds" in listing.stdout
    assert f"folder      {folder / 'mine'}" in listing.stdout
    described = json.loads(run("models", "--json").stdout)
    assert [one["name"] for one in described] == ["default", "mine"]


@pytest.mark.parametrize("arguments", [("mine", "--json"), ("--json", "mine")])
def test_one_of_them_is_shown(arguments: tuple[str, ...], folder: Path) -> None:
    (described,) = json.loads(run("models", *arguments).stdout)
    assert (described["name"], described["folder"]) == ("mine", str(folder / "mine"))
    assert "hair drier" in run("models", "mine").stdout


def test_a_model_is_found_by_its_name(folder: Path, coffee_file: Path, tmp_path: Path) -> None:
    assert automask.load("mine", device="cpu").bundle.folder == folder / "mine"
    done = run("mask", coffee_file, "cup", "--model", "mine", "-o", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    assert "1 × cup" in done.stderr


def test_a_folder_goes_before_a_name_and_a_built_in_name_before_the_users(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "mine", tmp_path / "here" / "mine")
    shutil.copytree(folder / "mine", folder / "default")
    shown = run("models", "mine", "--json", cwd=tmp_path / "here")
    assert json.loads(shown.stdout)[0]["folder"] == "mine"
    assert locate_bundle("default") != folder / "default"


@pytest.mark.usefixtures("folder")
def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(automask.BundleNotFoundError, match=r"`automask models` lists \('default', 'mine'\)"):
        automask.load("yours")


def test_a_broken_model_hides_no_other(folder: Path) -> None:
    (folder / "mine" / "automask.json").write_text("{")
    listing = run("models")
    assert listing.returncode == 0, listing.stderr
    assert "default: Finds" in listing.stdout
    assert "mine: cannot be used: " in listing.stdout
    assert json.loads(run("models", "--json").stdout)[1]["name"] == "mine"
    assert run("models", "remove", "mine", "--yes").returncode == 0


def test_a_model_is_removed(folder: Path) -> None:
    done = run("models", "remove", "mine", "--yes")
    assert (done.returncode, done.stdout) == (0, f"removed {folder / 'mine'}\n")
    assert not (folder / "mine").exists()
    assert user_bundles() == ()


def test_the_files_behind_a_link_are_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "mine").rename(tmp_path / "elsewhere")
    (folder / "mine").symlink_to(tmp_path / "elsewhere")
    assert run("models", "remove", "mine", "--yes").returncode == 0
    assert not (folder / "mine").exists()
    assert (tmp_path / "elsewhere" / "automask.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("mine",), 2, "without a question: --yes"),
        (("default", "--yes"), 1, "must be a model that you exported; this one is part of the package, got 'default'"),
        (("yours", "--yes"), 1, "which holds: mine"),
        (("../bundles/mine", "--yes"), 1, "no model '../bundles/mine' in"),
        ((".mine.half", "--yes"), 1, "no model '.mine.half' in"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_not_removed(arguments: tuple[str, ...], status: int, message: str) -> None:
    done = run("models", "remove", *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert user_bundles() == ("mine",)


@pytest.mark.parametrize(("answer", "left"), [("n", ("mine",)), ("y", ())])
def test_a_terminal_is_asked(answer: str, left: tuple[str, ...], folder: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "automask", "models", "remove", "mine"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True) as process:
        os.write(ours, f"{answer}\n".encode())
        output, _ = process.communicate()
    os.close(ours)
    os.close(theirs)
    assert f"Remove {folder / 'mine'}? [y/N]" in output
    assert user_bundles() == left
