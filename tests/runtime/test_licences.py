"""Licences that must be accepted: the question, and what is remembered."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest

from automask.bundle import Terms
from automask.licences import LicenceError, accept

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


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_file_is_replaced(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer(monkeypatch, None)
    accept(TERMS, accepted=True)
    (tmp_path / "data" / "automask" / "accepted_licences.json").write_text(content)
    with pytest.raises(LicenceError):
        accept(TERMS)
    accept(TERMS, accepted=True)
    accept(TERMS)
