"""Free text → class: what people type, and what must be refused rather than guessed."""

from __future__ import annotations

import gc
import json
import time
import tomllib
from math import inf
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automask.errors import BundleError, ParameterError, UnknownPromptError
from automask.words.phrases import singulars, tokenise
from automask.words.vocabulary import Vocabulary
from support.phrase_counts import PROMPTS, answer, judge

_ROOT = Path(__file__).parents[2]
_FILE = _ROOT / "runtime/bundles/default/vocabulary.json"
_VOCABULARY = Vocabulary.from_file(_FILE)
_UNCOUNTABLE = {"sheep", "skis", "scissors", "broccoli"}
_PLURALS = {"person": "people", "knife": "knives", "mouse": "mice"}


def refused(prompt: str) -> bool:
    try:
        _VOCABULARY.resolve(prompt)
    except UnknownPromptError:
        return True
    return False


def cases(*tables: str) -> list[tuple[str, str]]:
    return [(prompt, label) for table in tables for label, prompts in PROMPTS[table].items() for prompt in prompts]


@pytest.mark.parametrize(("prompt", "label"), cases("first", "second", "third", "fourth", "fifth", "sixth", "moved"))
def test_prompts_people_type(prompt: str, label: str) -> None:
    assert judge(_VOCABULARY, prompt, label) == "right", answer(_VOCABULARY, prompt)


@pytest.mark.parametrize(("prompt", "label"), cases("known_wrong"))
def test_known_errors_are_still_errors(prompt: str, label: str) -> None:
    """A prompt that becomes right moves to another table."""
    assert judge(_VOCABULARY, prompt, label) != "right"


def plural(label: str) -> str:
    if label in _UNCOUNTABLE:
        return label
    ends_hissing = label.endswith(("s", "ch", "sh", "x"))
    return _PLURALS.get(label) or label + ("es" if ends_hissing else "s")


@pytest.mark.parametrize("index", range(80))
def test_every_label_and_its_plural_is_itself(index: int) -> None:
    label = _VOCABULARY.labels[index]
    for prompt in (label, plural(label), label.upper(), f"The {plural(label)}!", label.replace(" ", "-")):
        assert [(term.label, term.index) for term in _VOCABULARY.resolve(prompt).wanted] == [(label, index)]


def test_labels_are_coco_in_the_detectors_order() -> None:
    labels = _VOCABULARY.labels
    assert len(labels) == len(set(labels)) == 80
    assert [labels[at] for at in (0, 1, 2, 14, 40, 41, 56, 57, 60, 78, 79)] == [
        *("person", "bicycle", "car", "bird", "wine glass", "cup", "chair", "couch", "dining table"),
        *("hair drier", "toothbrush"),
    ]


@pytest.mark.parametrize(
    ("prompt", "dropped"),
    [
        ("the man", ()),
        ("all of the dogs", ()),
        ("the man in the red shirt", ("in the red shirt",)),
        ("left person", ("left",)),
        ("toy car", ("toy",)),
        ("black-and-white cat", ("black-and-white",)),
        ("red and white umbrella", ("red and white",)),
        ("big, red dog on the left", ("big, red", "on the left")),
        ("a slice of the pizza on the plate", ("slice of", "on the plate")),
        ("my mum's car", ("mum's",)),
        ("the dog, which is brown", ("which is brown",)),
        ("man in red shirt and blue jeans", ("in red shirt and blue jeans",)),
        ("a cat sitting on a couch and looking at me", ("sitting on a couch and looking at me",)),
        ("two dogs, please", ("two",)),
        ("the second person from the left", ("second", "from the left")),
        ("una mujer y un hombre", ()),
    ],
)
def test_dropped_words_are_reported(prompt: str, dropped: tuple[str, ...]) -> None:
    (term,) = _VOCABULARY.resolve(prompt).wanted
    assert term.dropped == dropped


def test_parts_keep_their_words_as_typed() -> None:
    cup, spoon = _VOCABULARY.resolve("The CUP on the table & the Spoon").wanted
    assert (cup.text, cup.label, cup.dropped) == ("The CUP on the table", "cup", ("on the table",))
    assert (spoon.text, spoon.label, spoon.dropped) == ("the Spoon", "spoon", ())


def test_each_class_comes_once() -> None:
    assert [term.label for term in _VOCABULARY.resolve("cat, kitten and dog").wanted] == ["cat", "dog"]


def test_the_unknown_part_is_named() -> None:
    with pytest.raises(UnknownPromptError, match="^'the sky' is not among the 80 kinds") as caught:
        _VOCABULARY.resolve("the cup and the sky")
    assert caught.value.prompt == "the sky"


@pytest.mark.parametrize(
    ("prompt", "nearest"),
    [
        ("kat", "cat"),
        ("zebbra", "zebra"),
        ("bicicle", "bicycle"),
        ("umbrela", "umbrella"),
        ("a red bicicle", "bicycle"),
    ],
)
def test_misspelled_words_get_suggestions(prompt: str, nearest: str) -> None:
    with pytest.raises(UnknownPromptError) as caught:
        _VOCABULARY.resolve(prompt)
    assert nearest in caught.value.nearest
    assert len(caught.value.nearest) <= 3


@pytest.mark.parametrize("prompt", ["sky", "house", "glasses", "airplane wing", "logo", "rocket", "water"])
def test_correct_words_get_no_suggestions(prompt: str) -> None:
    with pytest.raises(UnknownPromptError) as caught:
        _VOCABULARY.resolve(prompt)
    assert caught.value.nearest == ()


@pytest.mark.parametrize("prompt", ["", "  \n\t", "...", "?!", "—", "‼", "'", ",;/"])
def test_a_prompt_without_words_is_refused(prompt: str) -> None:
    with pytest.raises(ParameterError, match="prompt must name something"):
        _VOCABULARY.resolve(prompt)


@given(
    st.text()
    | st.lists(st.sampled_from("the dog of and , 's man's wearing in red orange - on a pair no . ß İ ﬁ".split())).map(
        " ".join
    )
)
@example("İ's ﬁ ß' of of 's and of")
def test_any_text_is_resolved_or_refused(prompt: str) -> None:
    try:
        terms = _VOCABULARY.resolve(prompt).wanted
    except (UnknownPromptError, ParameterError):
        return
    assert terms
    assert len({term.index for term in terms}) == len(terms)
    assert all(term.label == _VOCABULARY.labels[term.index] for term in terms)
    assert all(words in term.text for term in terms for words in term.dropped)


@pytest.mark.parametrize("unit", ["dog ", "red, ", "foo eating ", "a slice of ", "dog's ", "zebbra ", "x"])
def test_the_work_grows_with_the_length_of_the_prompt_and_not_with_its_square(unit: str) -> None:
    # Seconds of this thread, the least of five, measured by turns: others on the machine do not count.
    work = {5_000: inf, 40_000: inf}
    gc.disable()  # its time depends on what the other tests keep in memory
    try:
        for length in [*work] * 5:
            start = time.thread_time()
            refused(unit * (length // len(unit)))
            work[length] = min(work[length], time.thread_time() - start)
    finally:
        gc.enable()
    assert work[40_000] < 10 * work[5_000]  # eight times the length: 64 times the work, if it were quadratic


def test_a_long_unknown_prompt_is_quoted_in_part() -> None:
    with pytest.raises(UnknownPromptError) as caught:
        _VOCABULARY.resolve("word " * 2000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", "nul", '"text"',
        '{"labels":[],"aliases":{},"words":[],"refused":[],"plurals":{}}',
        '{"labels":["cat"],"aliases":{"kitty":1},"words":[],"refused":[],"plurals":{}}',
        '{"labels":["cat"],"aliases":{"kitty":"0"},"words":[],"refused":[],"plurals":{}}',
        '{"labels":["cat"],"aliases":{},"words":[["a"],["b"]],"refused":[],"plurals":{}}',
        '{"labels":[7],"aliases":{},"words":[],"refused":[],"plurals":{}}',
        '{"labels":["cat"],"aliases":{},"words":[],"refused":[],"plurals":{"a":3}}',
        '{"labels":["cat"],"aliases":{},"words":[],"refused":[[]],"plurals":{}}',
    ],
)  # fmt: skip
def test_a_malformed_file_is_a_damaged_bundle(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(BundleError, match="vocabulary"):
        Vocabulary.from_file(path)


def test_a_missing_file_is_a_damaged_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Vocabulary.from_file(tmp_path / "vocabulary.json")


def test_the_hand_written_table_is_the_one_in_the_bundle() -> None:
    table = tomllib.loads((_ROOT / "export/words/sets/coco.toml").read_text(encoding="utf-8"))
    refused = table.pop("refuse")
    del table["plurals"]
    assert tuple(table) == _VOCABULARY.labels
    for label, entry in table.items():
        for alias in entry["aliases"]:
            assert answer(_VOCABULARY, alias) == label, alias
    for phrase in refused:
        assert answer(_VOCABULARY, phrase) == "refuse", phrase


def test_the_file_is_small() -> None:
    assert _FILE.stat().st_size < 400_000
    assert json.loads(_FILE.read_bytes()).keys() == {
        *("labels", "aliases", "words", "refused", "plurals", "unions", "languages", "similar", "real")
    }


def test_words_and_plurals() -> None:
    words = tokenise("The dog's t-shirt, St. Bernard.")
    assert [word.key for word in words] == ["the", "dog", "t", "shirt", ",", "st", "bernard", "."]
    assert [word.possessive for word in words[:3]] == [False, True, False]
    assert words[3].glued
    assert singulars("two wine glasses", {})[0] == "two wine glass"
    assert singulars("firemen", {}) == ["fireman"]
    assert singulars("wolves", {})[:2] == ["wolf", "wolfe"]
    assert singulars("bus", {}) == singulars("glass", {}) == []
