"""What family `boxes` does to the masks that its decoder draws."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import automask
from automask.families.boxes import _without_specks


def drawn(*squares: tuple[int, int, int]) -> NDArray[np.float32]:
    """Logits of a (128, 128) mask: +1 in squares of a given top, left and side, -1 elsewhere."""
    logits = np.full((128, 128), -1, np.float32)
    for top, left, side in squares:
        logits[top : top + side, left : left + side] = 1
    return logits


def test_scraps_go_and_real_parts_stay() -> None:
    kept = drawn((10, 10, 50), (80, 80, 20))  # the second one has 16 % of the first one's area
    np.testing.assert_array_equal(_without_specks(kept), kept)
    np.testing.assert_array_equal(_without_specks(np.maximum(kept, drawn((100, 5, 10)))), kept)  # 4 %


def test_pinholes_are_filled_and_real_holes_stay() -> None:
    solid, ring = drawn((10, 10, 60)), drawn((10, 10, 60))
    ring[30:50, 30:50] = -1  # 11 %, as in a doughnut
    np.testing.assert_array_equal(_without_specks(ring), ring)
    pierced = solid.copy()
    pierced[30:34, 30:34] = -1
    np.testing.assert_array_equal(_without_specks(pierced), solid)


@given(st.integers(0, 2**32 - 1), st.floats(-1, 1))
def test_only_signs_change_and_an_empty_mask_stays_empty(seed: int, shift: float) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32), (0, 0), 3) + shift
    before = noise.copy()
    clean = _without_specks(noise)
    np.testing.assert_array_equal(noise, before)
    np.testing.assert_array_equal(np.abs(clean), np.abs(noise))
    assert (clean > 0).any() == (noise > 0).any()


def test_a_person_is_one_piece(segmenter: automask.Segmenter, astronaut: NDArray[np.uint8]) -> None:
    mask = segmenter.mask(astronaut, "astronaut", grow_mask=0).mask
    parts, _ = cv2.connectedComponents(mask)
    assert parts == 2  # with the background
