"""Licences that must be accepted, and SAM 3 where its packages are missing: both before anything is downloaded."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from automask.errors import MissingDependencyError
from automask.export.cli import export
from automask.export.terms import LicenceError, Terms, accept

TERMS = Terms("Some Licence of 2025", "https://example.org/licence", ("not for war", "passed on with each copy"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def answer(monkeypatch: pytest.MonkeyPatch, reply: str | None) -> list[str]:
    """Let a terminal give this reply; None: there is no terminal. Returns the questions."""
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return reply == "y"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: reply is not None, raising=False)
    monkeypatch.setattr(click, "confirm", confirm)
    return questions


def test_without_a_terminal_the_flag_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, None)
    with pytest.raises(LicenceError, match="not for war; passed on with each copy; https.*: --accept-licence"):
        accept(TERMS)


def test_a_question_is_asked_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(monkeypatch, "n") == []
    with pytest.raises(LicenceError):
        accept(TERMS)
    questions = answer(monkeypatch, "y")
    for _ in range(2):
        accept(TERMS)
    assert questions == ["Do you accept this licence?"]
    assert "  - not for war" in capsys.readouterr().out
    other = Terms("Some Licence of 2026", TERMS.url, TERMS.conditions)
    accept(other)
    assert len(questions) == 2


def test_the_flag_is_remembered_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer(monkeypatch, None)
    accept(TERMS, accepted=True)
    accept(TERMS)
    kept = json.loads((tmp_path / "data" / "automask" / "accepted_licences.json").read_text())
    assert list(kept) == [TERMS.name]


@pytest.mark.parametrize("model", ["sam3", "sam3-lite-text", "facebook/sam3", "a folder"])
def test_without_its_packages_the_error_has_both_commands(model: str, tmp_path: Path) -> None:
    """These tests run in the environment of the other models, whose transformers has no SAM 3."""
    if model == "a folder":
        model = str(tmp_path / "checkpoint")
        Path(model).mkdir()
        (Path(model) / "config.json").write_text(json.dumps({"model_type": "sam3"}))
    done = CliRunner().invoke(export, [model, "-o", str(tmp_path / "out"), "--accept-licence"])
    assert isinstance(done.exception, MissingDependencyError)
    message = str(done.exception)
    assert "SAM 3 needs transformers 5.17 or newer, found 4." in message
    assert "python3 -m venv sam3-export && sam3-export/bin/pip install 'automask[cpu,export-sam3]'" in message
    shutil.rmtree(tmp_path / "checkpoint", ignore_errors=True)
    assert not any(tmp_path.iterdir())


def test_the_list_says_what_the_licence_forbids() -> None:
    listed: Any = CliRunner().invoke(export, ["--list"])
    assert "facebook/sam3, 3440 MB, images of 1008 px, SAM License, gated (not: military, nuclear, espionage" in (
        " ".join(listed.output.split())
    )
