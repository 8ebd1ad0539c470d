"""An object's mask at the photo's size, compared with an interpolation of every pixel in float64."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from automask import Instance

# How far OpenCV may be off when it counts positions among the logits: float32 from version 5 on, 1/32 steps before.
POSITION = 2**-17 if int(cv2.__version__.split(".")[0]) >= 5 else 1 / 64
VALUE = 2**-22  # a few roundings in float32, relative to the largest logit


def instance(logits: NDArray[np.float32], size: tuple[int, int]) -> Instance:
    return Instance("cup", 1.0, (0.0, 0.0, 1.0, 1.0), size, logits)


def wrong(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the mask is not the sign of the interpolated logits, although no rounding explains it."""
    exact = interpolated(logits, size)
    # Between a sample and its neighbours the logits change by at most their range, in each direction.
    around = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(logits, around) - cv2.erode(logits, around)
    nearest = [np.rint(at).astype(int) for at in positions(logits, size)]
    doubt = 2 * POSITION * spread[np.ix_(*nearest)] + VALUE * np.abs(logits).max()
    differs = (instance(logits, size).mask > 0) != (exact > 0)
    return np.asarray(differs & (np.abs(exact) > doubt), bool)


def interpolated(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """The logits at every pixel of the photo."""
    found = logits.astype(np.float64)
    for axis, at in enumerate(positions(logits, size)):
        below = np.floor(at).astype(int)
        above = np.minimum(below + 1, logits.shape[axis] - 1)
        share = np.expand_dims(at - below, 1 - axis)
        found = found.take(below, axis) * (1 - share) + found.take(above, axis) * share
    return found


def positions(logits: NDArray[np.float32], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Where the rows and columns of pixels lie among the logits: pixel centres at +0.5, none beyond the edge."""
    return [
        np.clip((np.arange(full) + 0.5) * low / full - 0.5, 0, low - 1)
        for low, full in zip(logits.shape, size, strict=True)
    ]


sides = st.integers(1, 130)
sizes = st.tuples(st.integers(1, 900), st.integers(1, 900))


@given(
    sides, sides, sizes, st.floats(0.3, 8), st.sampled_from([-0.1, -0.02, 0.0, 0.02, 1.0]), st.integers(0, 2**32 - 1)
)
@example(88, 125, (491, 390), 0.3125, -0.1, 2346)  # OpenCV itself is off by 1.4e-5 at one pixel, beside the sign change
def test_mask_is_where_the_interpolated_logits_are_positive(
    height: int, width: int, size: tuple[int, int], blur: float, shift: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    blurred = np.asarray(cv2.GaussianBlur(noise, (0, 0), blur), np.float32).reshape(height, width)
    logits = blurred + np.float32(shift)
    assert not wrong(logits, size).any()


@pytest.mark.parametrize("size", [(4000, 3000), (3, 5), (97, 129)])
def test_filled_crossed_and_empty_tiles_meet(size: tuple[int, int]) -> None:
    y, x = np.mgrid[:96, :128].astype(np.float32)
    logits = np.float32(30) - np.hypot(y - 40, x - 70)
    assert not wrong(logits, size).any()


def test_painting_does_not_change_the_rest_of_the_canvas() -> None:
    logits = np.full((8, 8), -1, np.float32)
    logits[2:4, 2:4] = 1
    one = instance(logits, (800, 800))
    canvas = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (800, 800))
    expected = canvas | one.mask
    one.paint(canvas)
    np.testing.assert_array_equal(canvas, expected)
    assert set(np.unique(one.mask)) == {0, 255}
