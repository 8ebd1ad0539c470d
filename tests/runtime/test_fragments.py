"""Fragments of a refined mask, beside a definition over pixels with OpenCV's connected components."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from automask.fragments import remove_fragments

Array = NDArray[np.uint8]
Bits = NDArray[np.bool_]


@st.composite
def filtered_masks(draw: st.DrawFn) -> tuple[Array, Array]:
    """A mask of blobs, and the same with noise on it."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, grain = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    blobs, noise = (cv2.blur(rng.random((height, width)), (k, k)).reshape(height, width) for k in (size, grain))
    mask = np.where(blobs > draw(st.floats(0.3, 0.7)), 255, 0).astype(np.uint8)
    return np.clip(255 * (blobs + draw(st.floats(0, 0.5)) * (noise - 0.5)), 0, 255).astype(np.uint8), mask


def fragments(now: Bits, before: Bits, least: float) -> Bits:
    """Parts mostly outside `before`, or smaller than a share of the largest part of the same part of `before`."""
    count, parts = cv2.connectedComponents(now.astype(np.uint8), connectivity=4)
    _, origins = cv2.connectedComponents(before.astype(np.uint8), connectivity=4)
    pieces = [np.asarray(parts) == number for number in range(1, count)]
    kept = [(np.asarray(origins)[piece & before]).tolist() for piece in pieces]
    origin = [found[-1] if found else 0 for found in kept]
    found = np.zeros(now.shape, bool)
    for index, piece in enumerate(pieces):
        largest = max(other.sum() for other, source in zip(pieces, origin, strict=True) if source == origin[index])
        if 2 * len(kept[index]) < piece.sum() or piece.sum() < least * largest:
            found |= piece
    return found


@given(filtered_masks())
def test_specks_and_holes_are_removed(case: tuple[Array, Array]) -> None:
    filtered, mask = case
    before = filtered.copy()
    remove_fragments(filtered, mask)
    inside = before >= 128
    specks = fragments(inside, mask > 0, 0.1)
    holes = fragments(~inside | specks, mask == 0, 0.01)
    expected = np.where(specks, np.minimum(before, 127), before)
    assert np.array_equal(filtered, np.where(holes, np.maximum(expected, 128), expected))


@given(filtered_masks())
def test_a_mask_has_no_fragments_of_its_own(case: tuple[Array, Array]) -> None:
    _, mask = case
    kept = mask.copy()
    remove_fragments(kept, mask)
    assert np.array_equal(kept, mask)
