"""The choice of the best objects: the same when only the best boxes are compared first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automask.families.finders import choice
from automask.families.finders.choice import choose
from automask.families.finders.finder import MAX_INSTANCES
from automask.words.meaning import Term


@given(
    seed=st.integers(0, 10_000),
    levels=st.sampled_from([3, 50, 100_000]),
    classes=st.integers(1, 6),
    spread=st.sampled_from([20.0, 200.0, 2000.0]),
    threshold=st.sampled_from([0.0, 0.05, 0.3, 0.99]),
    nms_iou=st.sampled_from([None, 0.5]),
)
@pytest.mark.parametrize("union", ["", "everything"])
def test_comparing_the_best_first_changes_nothing(
    union: str, seed: int, levels: int, classes: int, spread: float, threshold: float, nms_iou: float | None
) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, spread, (300, 2))
    boxes = np.concatenate((corner, corner + random.uniform(5, 50, (300, 2))), axis=1).astype(np.float32)
    scores = (random.integers(0, levels, (300, classes)) / levels).astype(np.float32)
    terms = [Term("x", str(index), index, union=union) for index in range(classes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "_FIRST_COMPARED", 10**9)
        expected = choose(boxes, scores, terms, threshold, nms_iou)
        for first in (1, 60, 400):
            patch.setattr(choice, "_FIRST_COMPARED", first)
            found = choose(boxes, scores, terms, threshold, nms_iou)
            assert found.prediction == expected.prediction
            assert found.labels == expected.labels
            assert np.array_equal(found.boxes, expected.boxes)
            assert np.array_equal(found.scores, expected.scores)
    assert len(expected.boxes) <= MAX_INSTANCES
