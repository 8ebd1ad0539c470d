"""Free text: a prompt as the phrases that a finder looks for."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automask.errors import ParameterError
from automask.words.free_text import FreeText
from automask.words.phrases import normalise

_NOUNS = st.sampled_from(
    ["cup", "red cup", "the man on the left", "spoon #5", "a dog that sleeps", "猫", "🐈", "C++ book"]
)
_SEPARATORS = st.sampled_from([", ", " and ", ", and ", ". ", "; ", "\n", " or ", " | ", ","])


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("the red cup on the left, and a spoon", ("the red cup on the left", "a spoon")),
        ("cup", ("cup",)),
        ("cat/dog", ("cat", "dog")),
        ("red and white umbrella", ("red and white umbrella",)),
        ("a man in a hat and coat", ("a man in a hat and coat",)),
        ("a cup, which is red", ("a cup, which is red",)),
        ("the spoon between the fork and the knife", ("the spoon between the fork and the knife",)),
        ("a man without a hat", ("a man without a hat",)),
        ("St. Bernard. a cat.", ("St. Bernard", "a cat")),
        ("C++ book and a 24/7 sign, 1,000 dollar bill", ("C++ book", "a 24/7 sign", "1,000 dollar bill")),
        ("AT&T logo", ("AT&T logo",)),
        ("player #5!", ("player #5!",)),
        ("plus sign and rock n roll poster", ("plus sign", "rock n roll poster")),
        ("A cup, a spoon, a CUP", ("A cup", "a spoon")),
        ("🐈 and 🐕", ("🐈", "🐕")),
        ("قطة", ("قطة",)),
    ],
)
def test_a_prompt_is_split_into_its_phrases(prompt: str, phrases: tuple[str, ...]) -> None:
    meaning = FreeText().resolve(prompt)
    assert meaning.wanted == phrases
    assert (meaning.excluded, meaning.invert, meaning.pick, meaning.warnings) == (None, False, "", ())


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("please mask the dog", ("the dog",)),
        ("show all dogs, thanks", ("all dogs",)),
        ("I want the cup and a spoon please", ("the cup", "a spoon")),
        ("mask on the face", ("mask on the face",)),
        ("face mask", ("face mask",)),
        ("mask", ("mask",)),
    ],
)
def test_words_of_the_request_are_no_part_of_a_phrase(prompt: str, phrases: tuple[str, ...]) -> None:
    assert FreeText().resolve(prompt).wanted == phrases


def test_an_exclusion_has_two_halves() -> None:
    meaning = FreeText().resolve("animals and toys except the red dog")
    assert (meaning.wanted, meaning.excluded, meaning.invert) == (("animals", "toys"), ("the red dog",), False)
    assert meaning.warnings == ("read as: animals and toys, without what is the red dog",)


@pytest.mark.parametrize("prompt", ["everything but the dog", "not the dog", "all except the dog"])
def test_everything_but_a_thing_is_inverted(prompt: str) -> None:
    meaning = FreeText().resolve(prompt)
    assert (meaning.wanted, meaning.excluded, meaning.invert) == (("the dog",), None, True)
    assert meaning.warnings == ("read as: everything in the picture but the dog",)


@pytest.mark.parametrize(
    "prompt", ["do not enter sign", "nothing but the cup", "don't mask the dog", "a man with no hat"]
)
def test_a_negation_that_is_no_exclusion_is_warned_of(prompt: str) -> None:
    meaning = FreeText().resolve(prompt)
    assert (meaning.wanted, meaning.excluded, meaning.invert) == ((prompt,), None, False)
    assert meaning.warnings == (
        f"{prompt!r} says what is not meant; models that read free text often overlook a negation",
    )


@pytest.mark.parametrize("prompt", ["", "   ", "\n", ", ;", "???", ".", 5, None])
def test_a_prompt_without_words_is_refused(prompt: object) -> None:
    with pytest.raises(ParameterError, match="name something to look for"):
        FreeText().resolve(prompt)  # type: ignore[arg-type]


def test_it_can_be_pickled_and_has_no_labels() -> None:
    assert FreeText().labels == ()
    meaning = FreeText().resolve("a cup but not the spoon")
    assert pickle.loads(pickle.dumps(meaning)) == meaning  # noqa: S301 (its own)


def test_a_prompt_of_thousands_of_words_is_read_whole() -> None:
    phrases = tuple(f"thing number {n}" for n in range(3000))
    assert FreeText().resolve(" and ".join(phrases)).wanted == phrases


@given(st.lists(_NOUNS, min_size=1, max_size=8, unique=True), st.data())
def test_joined_phrases_are_split_again(nouns: list[str], data: st.DataObject) -> None:
    prompt = nouns[0]
    for noun in nouns[1:]:
        prompt += data.draw(_SEPARATORS) + noun
    assert FreeText().resolve(prompt).wanted == tuple(nouns)


@given(st.text(max_size=200))
def test_any_text_is_phrases_or_an_error(prompt: str) -> None:
    try:
        meaning = FreeText().resolve(prompt)
    except ParameterError:
        return
    text = normalise(prompt)
    phrases = (*meaning.wanted, *(meaning.excluded or ()))
    assert phrases
    assert all(phrase.strip() == phrase != "" and phrase in text for phrase in phrases)
    assert len({phrase.casefold() for phrase in meaning.wanted}) == len(meaning.wanted)
