"""The best objects of one prompt, among boxes with a score and a label each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from automask.families.family import Prediction
from automask.families.finders.finder import MAX_INSTANCES, MAX_WITH_WEAK
from automask.families.finders.ranking import distinct, rank

CUP = Prediction(("cup",))


def boxes(*corners: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(corners, np.float32).reshape(-1, 4)


def many(count: int, score: float) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
    left = np.arange(count, dtype=np.float32)
    corners = np.stack((left, left, left + 1, left + 1), axis=1)
    return corners, np.full(count, score, np.float32), ["cup"] * count


def test_the_best_come_first() -> None:
    three = boxes((0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3))
    found = rank(CUP, three, np.array([0.3, 0.9, 0.1], np.float32), ["a", "b", "c"], 0.2)
    assert found.labels == ("b", "a")
    assert found.boxes.tolist() == three[[1, 0]].tolist()
    assert found.prediction is CUP


def test_a_score_at_the_threshold_counts() -> None:
    one = np.array([0.25], np.float32)
    assert len(rank(CUP, boxes((0, 0, 1, 1)), one, ["cup"], 0.25).scores) == 1
    assert len(rank(CUP, boxes((0, 0, 1, 1)), one, ["cup"], 0.26).scores) == 0


def test_boxes_without_area_are_no_objects() -> None:
    flat = boxes((5, 0, 5, 9), (0, 7, 3, 7), (0, 0, 1, 1))
    assert rank(CUP, flat, np.ones(3, np.float32), ["a", "b", "c"], 0).labels == ("c",)


def test_nothing_found_keeps_what_was_understood() -> None:
    found = rank(CUP, boxes(), np.empty(0, np.float32), [], 0.2)
    assert (found.boxes.shape, found.scores.shape, found.labels) == ((0, 4), (0,), ())
    assert found.prediction is CUP


def test_of_thousands_only_the_best_are_drawn() -> None:
    strong, weak = rank(CUP, *many(5000, 0.9), 0.2), rank(CUP, *many(5000, 0.01), 0.0)
    assert (len(strong.scores), len(weak.scores)) == (MAX_INSTANCES, MAX_WITH_WEAK)
    for found in (strong, weak):
        assert "at most 100 are drawn" in found.prediction.warnings[0]


def test_an_object_that_two_phrases_found_is_taken_once() -> None:
    same: dict[str, Any] = {"scores": np.array([0.5, 0.8, 0.4], np.float32), "threshold": 0.2}
    overlapping = boxes((0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60))
    assert distinct(overlapping, labels=["cup", "mug", "cup"], **same) == [1, 2]
    # Boxes of one phrase are left to the model and its suppression.
    assert distinct(overlapping, labels=["cup", "cup", "mug"], **same) == [1, 0, 2]
