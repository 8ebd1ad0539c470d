"""Unions, exclusions, other languages and several prompts: from the words to the mask."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask.errors import EmptyMaskError, ParameterError, UnknownPromptError
from automask.loading import outline
from automask.parameters import Query
from automask.words.spelling import distance, is_typo

Pixels = NDArray[np.uint8]


def test_a_union_is_what_the_model_knows_of_it(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    dishes = segmenter.mask(coffee, "the dishes", grow_mask=0)
    assert dishes.labels == ("wine glass", "cup", "fork", "knife", "spoon", "bowl")
    assert "as 'tableware' this model knows wine glass, cup, fork, knife, spoon, bowl" in dishes.warnings
    assert {instance.label for instance in dishes.instances} <= set(dishes.labels)
    np.testing.assert_array_equal(
        dishes.mask, segmenter.mask(coffee, "glasses of wine, cup, fork, knife, spoon, bowl", grow_mask=0).mask
    )


def test_an_object_that_is_two_kinds_of_a_union_comes_once(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    boxes = [one.box for one in segmenter.mask(coffee, "everything", threshold=0.05).instances]
    for index, box in enumerate(boxes):
        assert all(overlap(box, other) <= 0.7 for other in boxes[:index])


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the IoU of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("prompt", ["everything but the cup", "not the cup", "all except cups"])
def test_everything_but_a_thing_is_its_inverted_mask(
    segmenter: automask.Segmenter, coffee: Pixels, prompt: str
) -> None:
    result = segmenter.mask(coffee, prompt)
    np.testing.assert_array_equal(result.mask, segmenter.mask(coffee, "cup", invert_mask=True).mask)
    assert result.labels == ("cup",)
    assert "read as: everything in the picture but cup" in result.warnings
    assert not result.is_empty
    inverted = segmenter.mask(coffee, prompt, invert_mask=True)
    np.testing.assert_array_equal(inverted.mask, segmenter.mask(coffee, "cup").mask)


def test_an_exclusion_is_the_parameter_exclude(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "the table but not the cup")
    np.testing.assert_array_equal(result.mask, segmenter.mask(coffee, "table", exclude="cup").mask)
    assert result.labels == ("dining table",)
    assert "read as: dining table, without what is cup" in result.warnings


def test_a_union_loses_the_kinds_that_are_excluded(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "dishes except the cup")
    assert "cup" not in result.labels
    assert "bowl" in result.labels
    assert not (result.mask & segmenter.mask(coffee, "cup", grow_mask=0).mask).any()


def test_the_background_is_everything_else(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    foreground, background = segmenter.mask(astronaut, ["foreground", "background"])
    np.testing.assert_array_equal(background.mask, 255 - foreground.mask)
    assert any("all of the picture but the 80 kinds of object" in warning for warning in background.warnings)


def test_the_subject_is_one_object(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    subject = segmenter.mask(astronaut, "the main subject")
    assert subject.labels == ("person",)
    assert len(subject.instances) == 1
    assert any("the largest, most central object" in warning for warning in subject.warnings)
    rest = segmenter.mask(astronaut, "everything but the subject")
    np.testing.assert_array_equal(rest.mask, 255 - subject.mask)


def test_the_subject_can_be_corrected_by_a_point(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    corrected = segmenter.mask(astronaut, "subject", points=[(10, 10, 0)])
    assert {one.label for one in corrected.instances} == {"person"}
    assert segmenter.mask(astronaut, "subject", drop=[0]).is_empty
    with pytest.raises(ParameterError, match="keep must hold indices below 1"):
        segmenter.mask(astronaut, "subject", keep=[1])


@pytest.mark.parametrize(
    "prompt", ["la taza", "une tasse", "die Tasse", "カップ", "杯子", "कप", "☕", "die tasse", "XÍCARA"]
)
def test_a_cup_in_other_languages(segmenter: automask.Segmenter, coffee: Pixels, prompt: str) -> None:
    result = segmenter.mask(coffee, prompt)
    assert (result.labels, result.warnings, result.dropped) == (("cup",), (), ())


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("velo", ["bicycle"]),
        ("un chien et deux", None),
        ("猫と犬", ["cat", "dog"]),
        ("两只猫和一辆汽车", ["cat", "car"]),
        ("赤い車", ["car"]),
        ("猫の家", None),
        ("机器人", None),
        ("काली बिल्ली", ["cat"]),
        ("🐱🐶", ["cat", "dog"]),
        ("👩🏽", ["person"]),
        ("🧑‍🚒", ["person"]),
        ("cane", None),  # in English, a stick
        ("il cane", ["dog"]),
        ("a skate", None),  # not Portuguese
        ("la mesa", ["dining table"]),
        ("mesa", None),
    ],
)
def test_how_words_of_other_languages_are_read(prompt: str, labels: list[str] | None) -> None:
    words = outline(device="cpu").words
    if labels is None:
        with pytest.raises(UnknownPromptError):
            words.resolve(prompt)
    else:
        assert [term.label for term in words.resolve(prompt).wanted] == labels


def test_a_word_that_english_has_too_is_read_with_a_warning() -> None:
    words = outline(device="cpu").words
    assert words.resolve("le chat").warnings == ()
    (warning,) = words.resolve("chat").warnings
    assert warning.startswith("'chat' is read as French for 'cat'")


def test_all_unknown_parts_are_named() -> None:
    with pytest.raises(UnknownPromptError, match="^'the sky' and 'a logo' are not among the 80 kinds") as caught:
        outline(device="cpu").words.resolve("the cup, the sky and a logo")
    assert caught.value.parts == ("the sky", "a logo")
    assert caught.value.prompt == "the sky"


@pytest.mark.parametrize(
    ("prompt", "nearest"),
    [
        ("logo", ()),
        ("rocket", ()),
        ("water", ()),
        ("a lion", ("cat", "bear")),
        ("lemon", ("orange", "banana")),
        ("sofaa", ("sofa",)),
    ],
)
def test_suggestions_are_near_in_meaning_or_mistyped(prompt: str, nearest: tuple[str, ...]) -> None:
    with pytest.raises(UnknownPromptError) as caught:
        outline(device="cpu").words.resolve(prompt)
    assert caught.value.nearest == nearest


def test_distances_of_words() -> None:
    assert [distance("cup", other) for other in ("cup", "cups", "cap", "ucp", "")] == [0, 1, 1, 1, 3]
    assert is_typo("umbrela", "umbrella")
    assert not is_typo("big", "bag")


def test_several_prompts_are_answered_as_far_as_they_can(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    prompts = ["cup", "the sky", "", "dog", "spoon or logo"]
    cup, sky, blank, dog, logo = segmenter.mask(coffee, prompts, return_errors=True, stop_on_empty_mask=True)
    assert isinstance(cup, automask.Result)
    np.testing.assert_array_equal(cup.mask, segmenter.mask(coffee, "cup").mask)
    assert isinstance(sky, UnknownPromptError)
    assert isinstance(blank, ParameterError)
    assert isinstance(dog, EmptyMaskError)
    assert isinstance(logo, UnknownPromptError)
    assert logo.parts == ("logo",)
    assert all(
        isinstance(one, UnknownPromptError) for one in segmenter.mask(coffee, ["sky", "moon"], return_errors=True)
    )
    with pytest.raises(UnknownPromptError):
        segmenter.mask(coffee, ["cup", "the sky"])
    with pytest.raises(ParameterError, match="return_errors must be False for a single prompt"):
        segmenter.mask(coffee, "cup", return_errors=True)
    with pytest.raises(UnknownPromptError):
        segmenter.mask(coffee, ["cup"], exclude="the sky", return_errors=True)


def test_what_was_resolved_is_pickled_with_its_errors() -> None:
    resolved = outline(device="cpu").resolve(Query(("animals but no", "dogs and the sky", ""), return_errors=True))
    _, sky, blank = pickle.loads(pickle.dumps(resolved)).prompts  # noqa: S301 (from this line)
    assert isinstance(sky, UnknownPromptError)
    assert (sky.parts, str(sky)) == (("the sky",), str(resolved.prompts[1]))
    assert isinstance(blank, ParameterError)
    assert blank.parameter == "prompt"
