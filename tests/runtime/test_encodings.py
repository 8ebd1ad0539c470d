"""COCO run lengths and polygons, checked with COCO's own tool."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pycocotools import mask as coco

from automask.encodings import polygons, rle

bits = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.booleans())


@given(bits)
def test_coco_decodes_what_rle_encodes(mask: NDArray[np.bool_]) -> None:
    encoded = rle(mask.astype(np.uint8) * np.uint8(255))
    np.testing.assert_array_equal(coco.decode(encoded) > 0, mask)
    assert encoded["counts"].encode() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def test_long_runs() -> None:
    mask = np.zeros((3000, 4000), np.uint8)
    mask[100:2900, 500:3500] = 255
    np.testing.assert_array_equal(coco.decode(rle(mask)), mask // 255)


def test_polygons_enclose_the_object() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 20:70] = 255
    mask[20:30, 30:40] = 0
    (outline,) = polygons(mask)
    assert set(zip(outline[::2], outline[1::2], strict=True)) == {(20, 10), (69, 10), (69, 49), (20, 49)}


def test_an_empty_mask_has_no_polygon() -> None:
    assert polygons(np.zeros((4, 4), np.uint8)) == []
