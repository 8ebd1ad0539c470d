"""Agreement of boxes: what decides whether a precision finds the same objects as the checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automask.export.agreement_boxes import BoxAgreement, FoundBoxes
from automask.export.figures import ParityError, check

SIZE = (480, 640)


def found(scores: list[float], *, shift: float = 0.0, labels: tuple[str, ...] = ("cat", "dog", "cat")) -> FoundBoxes:
    """Three boxes of 100 x 100 px, side by side."""
    boxes = np.array([[200.0 * i, 50, 200 * i + 100, 150] for i in range(3)], np.float32) + np.float32(shift)
    return FoundBoxes(boxes, np.array(scores, np.float32), labels)


def agreement(one: FoundBoxes, other: FoundBoxes) -> BoxAgreement:
    result = BoxAgreement()
    result.add(one, other, SIZE)
    return result


def values(result: BoxAgreement, precision: str) -> dict[str, float]:
    return {figure.name: figure.value for figure in result.figures(precision)}


def test_the_same_objects_agree_in_any_order() -> None:
    expected = found([0.9, 0.5, 0.3])
    order = [2, 0, 1]
    labels = tuple(expected.labels[i] for i in order)
    result = agreement(FoundBoxes(expected.boxes[order], expected.scores[order], labels), expected)
    figures = check(result.figures("fp32"))
    assert figures["fp32 boxes: share that both found"] == 1
    assert figures["fp32 boxes: lowest IoU"] == 1
    assert "with the same label" in result.criterion("fp32")


def test_a_score_just_below_the_threshold_on_one_side_is_a_match() -> None:
    result = agreement(found([0.9, 0.5, 0.1999]), found([0.9, 0.5, 0.2001]))
    assert (result.objects, result.matched) == (5, 5)


def test_more_objects_than_a_finder_returns() -> None:
    count = 150
    boxes = np.array([[4.0 * i, 0, 4 * i + 4, 4] for i in range(count)], np.float32)
    scores, labels = np.linspace(0.9, 0.3, count, dtype=np.float32), ("cat",) * count
    expected, best = FoundBoxes(boxes, scores, labels), FoundBoxes(boxes[:100], scores[:100], labels[:100])
    result = agreement(best, expected)
    assert result.matched == result.objects > 100
    # With fewer, each one that is not found counts.
    lost = FoundBoxes(boxes[:99], scores[:99], labels[:99])
    assert agreement(lost, expected).objects == 99 + count


@pytest.mark.parametrize(
    ("other", "share"),
    [
        pytest.param(found([0.9, 0.5, 0.3], labels=("cat", "dog", "dog")), 4 / 6, id="another label"),
        pytest.param(found([0.9, 0.5, 0.3], shift=20), 0, id="an IoU below 0.9"),
        pytest.param(FoundBoxes(np.zeros((0, 4)), np.zeros(0), ()), 0, id="nothing found"),
    ],
)
def test_other_objects_are_refused(other: FoundBoxes, share: float) -> None:
    result = agreement(other, found([0.9, 0.5, 0.3]))
    result.add(found([0.9, 0.5, 0.3]), found([0.9, 0.5, 0.3]), SIZE)
    objects = 6 if len(other.scores) else 3
    assert values(result, "int8")["int8 boxes: share that both found"] == pytest.approx(
        (share * objects + 6) / (objects + 6)
    )
    with pytest.raises(ParityError, match="share that both found must be at least 0.9"):
        check(result.figures("int8"))


def test_an_object_too_many_is_refused() -> None:
    more = FoundBoxes(
        np.concatenate((found([1, 1, 1]).boxes, np.array([[0, 300, 90, 400]] * 4, np.float32))),
        np.array([0.9, 0.5, 0.3] + [0.8] * 4),
        ("cat", "dog", "cat", *["cat"] * 4),
    )
    with pytest.raises(ParityError, match="share that both found must be at least 0.9, got 0.6"):
        check(agreement(more, found([0.9, 0.5, 0.3])).figures("int8"))


def test_float32_must_be_exact() -> None:
    exact = found([0.9, 0.5, 0.3])
    with pytest.raises(ParityError, match="largest difference of scores must be at most 0.001, got 0.01"):
        check(agreement(found([0.91, 0.5, 0.3]), exact).figures("fp32"))
    with pytest.raises(ParityError, match="largest difference of corners must be at most 0.001, got 0.003"):
        check(agreement(found([0.9, 0.5, 0.3], shift=2), exact).figures("fp32"))
    check(agreement(found([0.91, 0.5, 0.3], shift=2), exact).figures("int8"))


@pytest.mark.parametrize("swapped", [False, True])
def test_untrained_weights_are_judged_by_the_best_scores_and_boxes(swapped: bool) -> None:
    scores = [0.0101, 0.01, 0.0102]
    expected = found(scores)
    other: Any = found([scores[1], scores[0], scores[2]]) if swapped else expected
    result = agreement(other, expected)
    assert "untrained weights" in result.criterion("int8")
    check(result.figures("fp32"))
    with pytest.raises(ParityError, match="distance of the best boxes must be at most 0.1"):
        check(agreement(found(scores, shift=100), expected).figures("int8"))
    with pytest.raises(ParityError, match="relative error of the best scores must be at most 0.1, got 0.5"):
        check(agreement(found([score / 2 for score in scores]), expected).figures("int8"))


def test_nothing_to_compare_and_nan_are_refused() -> None:
    nothing = FoundBoxes(np.zeros((0, 4)), np.zeros(0), ())
    with pytest.raises(ParityError, match="got nan"):
        check(agreement(nothing, nothing).figures("int8"))
    with pytest.raises(ParityError, match="got nan"):
        check(agreement(found([np.nan] * 3), found([0.01] * 3)).figures("int8"))
    with pytest.raises(ParityError, match="got inf"):
        check(agreement(nothing, found([0.01] * 3)).figures("int8"))
