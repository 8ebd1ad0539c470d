"""Cut-outs on other backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automask.compositing import blur, cover, over, trim
from automask.errors import ParameterError


def noise(seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_over_is_a_mean_weighted_by_alpha(seed: int, height: int, width: int) -> None:
    cutout, background = noise(seed, height, width, 4), noise(seed + 1, height, width, 3)
    alpha = cutout[..., 3:] / 255
    expected = alpha * cutout[..., :3] + (1 - alpha) * background
    assert np.abs(over(cutout, background) - expected).max() <= 0.51


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
def test_trim_keeps_all_that_can_be_seen_and_no_empty_border(seed: int, height: int, width: int, share: float) -> None:
    cutout = noise(seed, height, width, 4)
    cutout[np.random.default_rng(seed).random((height, width)) > share * 0.1, 3] = 0
    trimmed = trim(cutout)
    assert trimmed[..., 3].astype(int).sum() == cutout[..., 3].astype(int).sum()
    if cutout[..., 3].any():
        assert all(side[..., 3].any() for side in (trimmed[0], trimmed[-1], trimmed[:, 0], trimmed[:, -1]))
    else:
        assert trimmed.shape == cutout.shape


def test_a_blurred_background_has_nothing_of_the_object() -> None:
    image = np.full((100, 120, 3), (10, 60, 200), np.uint8)
    image[30:70, 40:80] = (255, 0, 0)
    cutout = np.dstack((image, np.zeros(image.shape[:2], np.uint8)))
    cutout[30:70, 40:80, 3] = 255
    assert np.abs(blur(image, cutout)[:28].astype(int) - (10, 60, 200)).max() <= 3


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_cover_has_the_size_that_is_asked_for(height: int, width: int, rows: int, columns: int) -> None:
    assert cover(noise(1, height, width, 3), (rows, columns)).shape == (rows, columns, 3)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ParameterError, match=r"cutout must have the shape \(H, W, 4\), got \(3, 3, 3\)"):
        over(np.zeros((3, 3, 3), np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(ParameterError, match=r"background must have the shape \(3, 4, 3\), or be one colour"):
        over(np.zeros((3, 4, 4), np.uint8), np.zeros((2, 2, 3), np.uint8))
