"""The examples of docs/words.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from automask.errors import UnknownPromptError
from automask.loading import outline
from automask.words.meaning import Meaning

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "words.md").read_text(encoding="utf-8")
_EXAMPLES = re.findall(r"^(\S.*?)\s+-> (.+)$", _PAGE, re.MULTILINE)


@pytest.mark.parametrize(("prompt", "shown"), _EXAMPLES)
def test_an_example_is_answered_as_shown(prompt: str, shown: str) -> None:
    words = outline(device="cpu").words
    try:
        met = describe(words.resolve(prompt), len(words.labels))
    except UnknownPromptError as error:
        met = f"not known: {', '.join(error.parts)}" + f"; near: {', '.join(error.nearest)}" * bool(error.nearest)
    assert met == shown


def describe(meaning: Meaning[tuple[object, ...]], kinds: int) -> str:
    """Return what is masked, as the page writes it."""
    wanted = "everything" if len(meaning.wanted) == kinds else labels(meaning.wanted)
    without = f"; without: {labels(meaning.excluded)}" if meaning.excluded else ""
    return "all but: " * meaning.invert + wanted + without


def labels(terms: tuple[object, ...]) -> str:
    """Return the labels of terms."""
    return ", ".join(getattr(term, "label", "") for term in terms)


def test_the_program_of_the_page_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)
    monkeypatch.chdir(_ROOT)
    exec(program, {})  # noqa: S102 (from this repository)
    assert capsys.readouterr().out.strip() == program.rpartition("# ")[2].strip()


def test_the_page_names_every_union_and_language() -> None:
    from automask.words.vocabulary import Vocabulary

    vocabulary = outline(device="cpu").words
    assert isinstance(vocabulary, Vocabulary)
    for union in vocabulary.unions:
        assert f"`{union.name}" in _PAGE, union.name
