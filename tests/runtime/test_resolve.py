"""A prompt is resolved once, before the image is read; a resolved query can be sent to another process."""

import pickle
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask.loading import outline
from automask.outline import ResolvedQuery
from automask.parameters import Parameters, Query, as_texts
from automask.words.meaning import Meaning, Term
from automask.words.vocabulary import Vocabulary

Pixels = NDArray[np.uint8]


@pytest.fixture
def resolutions(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of times that each prompt is resolved; the real vocabulary resolves it."""
    counts: Counter[str] = Counter()
    original = Vocabulary.resolve

    def counting(self: Vocabulary, prompt: str) -> Meaning[tuple[Term, ...]]:
        counts[prompt] += 1
        return original(self, prompt)

    monkeypatch.setattr(Vocabulary, "resolve", counting)
    return counts


def test_mask_resolves_each_text_once(segmenter: automask.Segmenter, coffee: Pixels, resolutions: Counter[str]) -> None:
    segmenter.mask(coffee, ["cup", "table"], exclude="spoon")
    assert resolutions == {"cup": 1, "table": 1, "spoon": 1}


def test_mask_many_resolves_once_for_all_images(
    segmenter: automask.Segmenter, coffee: Pixels, resolutions: Counter[str]
) -> None:
    assert len(list(segmenter.mask_many([coffee, coffee[::-1], coffee[:, ::-1]], "cup", exclude=["spoon"]))) == 3
    assert resolutions == {"cup": 1, "spoon": 1}


def test_a_resolved_query_is_not_resolved_again(
    segmenter: automask.Segmenter, coffee: Pixels, resolutions: Counter[str]
) -> None:
    resolved = segmenter.resolve(Query(("cup",), ("spoon",), Parameters(grow_mask=3)))
    (answer,) = segmenter.answer(coffee, [resolved])
    assert resolutions == {"cup": 1, "spoon": 1}
    assert not isinstance(answer, automask.AutomaskError)
    expected = segmenter.mask(coffee, "cup", exclude="spoon", grow_mask=3)
    assert isinstance(answer[0], automask.Result)
    np.testing.assert_array_equal(answer[0].mask, expected.mask)


def test_another_process_may_resolve(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    """As on a cluster: the outline resolves in one process, the segmenter answers in another."""
    query = Query(("the red cup", "table"), ("spoon",))
    sent = pickle.dumps(outline(device="cpu").resolve(query))
    received = pickle.loads(sent)  # noqa: S301 (from the line above)
    assert received == segmenter.resolve(query)
    assert isinstance(received, ResolvedQuery)
    meanings = [meaning for meaning in received.prompts if isinstance(meaning, Meaning)]
    assert [[term.label for term in meaning.wanted] for meaning in meanings] == [["cup"], ["dining table"]]
    (answer,) = segmenter.answer(coffee, [received])
    assert not isinstance(answer, automask.AutomaskError)
    results = [result for result in answer if isinstance(result, automask.Result)]
    assert [result.prompt for result in results] == ["the red cup", "table"]


def test_a_wrong_query_leaves_the_others_alone(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    queries: list[Query | ResolvedQuery] = [
        Query(("cup",)),
        Query(("sky",)),
        segmenter.resolve(Query(("table",))),
        Query(()),
    ]
    cup, sky, table, nothing = segmenter.answer(coffee, queries)
    assert isinstance(sky, automask.UnknownPromptError)
    assert isinstance(nothing, automask.ParameterError)
    for answer, prompt in ((cup, "cup"), (table, "table")):
        assert not isinstance(answer, automask.AutomaskError)
        assert isinstance(answer[0], automask.Result)
        np.testing.assert_array_equal(answer[0].mask, segmenter.mask(coffee, prompt).mask)


@pytest.mark.parametrize(
    ("prompts", "error"),
    [((), automask.ParameterError), (("cup", " "), automask.ParameterError), (("sky",), automask.UnknownPromptError)],
)
def test_what_cannot_be_resolved_is_refused_without_an_image(prompts: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        outline(device="cpu").resolve(Query(prompts))


def test_texts_are_one_text_or_several() -> None:
    assert as_texts("prompt", "cup") == ("cup",)
    assert as_texts("prompt", (text for text in ("cup", "spoon"))) == ("cup", "spoon")
    assert as_texts("exclude", ()) == ()
    for wrong in (7, None, b"cup", ["cup", 3]):
        with pytest.raises(automask.ParameterError, match="exclude must be text or a sequence of texts, got "):
            as_texts("exclude", wrong)
