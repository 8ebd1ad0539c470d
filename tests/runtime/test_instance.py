"""An object's mask at the photo's size, beside interpolating all of it."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from automask import Instance

ROUNDING = 1e-5  # of the logits below: OpenCV counts positions from the corner of the part that it is asked for


def instance(logits: NDArray[np.float32], size: tuple[int, int]) -> Instance:
    return Instance("cup", 1.0, (0.0, 0.0, 1.0, 1.0), size, logits)


def whole(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The logits at every pixel of the photo, pixel centres at +0.5."""
    y, x = (low / full for low, full in zip(logits.shape, size, strict=True))
    to_logits = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(logits, to_logits, size[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


sides = st.integers(1, 130)
sizes = st.tuples(st.integers(1, 900), st.integers(1, 900))


@given(
    sides, sides, sizes, st.floats(0.3, 8), st.sampled_from([-0.1, -0.02, 0.0, 0.02, 1.0]), st.integers(0, 2**32 - 1)
)
def test_mask_is_where_the_interpolated_logits_are_positive(
    height: int, width: int, size: tuple[int, int], blur: float, shift: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    logits = np.asarray(cv2.GaussianBlur(noise, (0, 0), blur), np.float32) + np.float32(shift)
    expected = whole(logits, size)
    wrong = (instance(logits, size).mask > 0) != (expected > 0)
    assert not wrong[np.abs(expected) > ROUNDING].any()


@pytest.mark.parametrize("size", [(4000, 3000), (3, 5), (97, 129)])
def test_filled_crossed_and_empty_tiles_meet(size: tuple[int, int]) -> None:
    y, x = np.mgrid[:96, :128].astype(np.float32)
    logits = np.float32(30) - np.hypot(y - 40, x - 70)
    expected = whole(logits, size)
    wrong = (instance(logits, size).mask > 0) != (expected > 0)
    assert not wrong[np.abs(expected) > 1e-3].any()  # logits are up to 70 here


def test_painting_leaves_the_rest_of_the_canvas_alone() -> None:
    logits = np.full((8, 8), -1, np.float32)
    logits[2:4, 2:4] = 1
    one = instance(logits, (800, 800))
    canvas = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (800, 800))
    expected = canvas | one.mask
    one.paint(canvas)
    np.testing.assert_array_equal(canvas, expected)
    assert set(np.unique(one.mask)) == {0, 255}
