"""Captions of Grounding DINO: the layout of tokens is transformers' own; what is too long becomes several captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizerFast
from transformers.models.grounding_dino.modeling_grounding_dino import (
    generate_masks_with_special_tokens_and_transfer_map as of_transformers,
)
from transformers.models.grounding_dino.processing_grounding_dino import _merge_candidate_labels_text as merge

from automask.words.captions import CaptionWriter, attention
from support.bert_vocabulary import bert_tokenizer, text_settings

BEGIN, END, DOT, QUESTION = 101, 102, 1012, 1029
SEPARATORS = {BEGIN, END, DOT, QUESTION}
_TOKENS = st.integers(1100, 1190)
_SIGNS = st.sampled_from([DOT, QUESTION, END, BEGIN])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    bert_tokenizer(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def writer(folder: Path, **changes: Any) -> CaptionWriter:
    return CaptionWriter(folder, text_settings() | changes)


def assert_same_layout(ids: list[int]) -> None:
    mask, positions = attention(ids, SEPARATORS)
    expected_mask, expected_positions = of_transformers(torch.tensor([ids]))
    np.testing.assert_array_equal(mask, expected_mask[0].numpy())
    np.testing.assert_array_equal(positions, expected_positions[0].numpy())


@given(st.lists(st.lists(_TOKENS, max_size=9), min_size=1, max_size=7), st.booleans(), st.booleans())
def test_the_layout_of_phrases_is_that_of_transformers(phrases: list[list[int]], dot: bool, end: bool) -> None:
    ids = [BEGIN]
    for phrase in phrases:
        ids += [*phrase, DOT]
    assert_same_layout([*(ids if dot else ids[:-1]), *([END] if end else [])])


@given(st.lists(st.one_of(_TOKENS, _SIGNS), min_size=1, max_size=40))
def test_the_layout_of_any_tokens_is_that_of_transformers(ids: list[int]) -> None:
    assert_same_layout(ids)


@pytest.mark.parametrize(
    "phrases",
    [["cat"], ["a red cup", "the dog"], ["Red Cup!", "dog's bowl", "a", "b c", "cat", "the cat, a dog", "DOG"]],
)
def test_a_caption_is_what_the_processor_of_transformers_writes(folder: Path, phrases: list[str]) -> None:
    captions = writer(folder)
    (caption,) = captions.write(captions.read(phrase).ids for phrase in phrases)
    assert list(caption.ids) == bert_tokenizer(folder)(merge(phrases)).input_ids
    assert [caption.ids[start:end] for start, end in caption.spans.values()] == list(caption.spans)


def test_equal_phrases_are_written_once(folder: Path) -> None:
    captions = writer(folder)
    (caption,) = captions.write(captions.read(phrase).ids for phrase in ("A Cat", "dog", "a cat"))
    assert len(caption.spans) == 2


def test_signs_that_separate_phrases_do_not_split_one(folder: Path) -> None:
    captions = writer(folder)
    assert captions.read("a cat? no. a dog [SEP]").ids == captions.read("a cat no a dog").ids


@given(st.lists(st.lists(_TOKENS, min_size=1, max_size=13), min_size=1, max_size=60))
def test_what_is_too_long_becomes_several_captions(folder: Path, phrases: list[list[int]]) -> None:
    captions = writer(folder, max_length=16).write(tuple(phrase) for phrase in phrases)
    assert all(len(caption.ids) <= 16 for caption in captions)
    assert [ids for caption in captions for ids in caption.spans] == list(dict.fromkeys(map(tuple, phrases)))
    for caption in captions:
        parts = [*[[*ids, DOT] for ids in caption.spans]]
        assert list(caption.ids) == [BEGIN, *(token for part in parts for token in part), END]


def test_a_phrase_that_is_too_long_is_cut(folder: Path) -> None:
    captions = writer(folder)
    phrase = captions.read("the red cat " * 333 + "dog")
    (caption,) = captions.write([phrase.ids])
    assert (len(phrase.ids), len(caption.ids)) == (253, 256)
    assert phrase.dropped == ("red cat " + "the red cat " * 248 + "dog",)
    assert phrase.warnings == (
        "'the red cat the red cat the red cat the…' was cut after 253 tokens, the most that this model takes",
    )


@pytest.mark.parametrize(
    ("phrase", "unknown", "warning"),
    [
        ("a 🐈", True, "this model cannot read all of 'a 🐈'"),
        ("?!.", False, ""),
        (".", False, "this model cannot read '.'"),
    ],
)
def test_what_the_model_cannot_read_is_warned_of(folder: Path, phrase: str, unknown: bool, warning: str) -> None:
    read = writer(folder).read(phrase)
    assert (100 in read.ids) == unknown
    assert read.warnings == ((warning,) if warning else ())
    assert read.dropped == ()


def test_no_phrases_make_no_caption(folder: Path) -> None:
    assert writer(folder).write([(), ()]) == []


def test_the_tokenizer_of_the_tests_is_one_of_bert(folder: Path) -> None:
    assert isinstance(bert_tokenizer(folder), BertTokenizerFast)
