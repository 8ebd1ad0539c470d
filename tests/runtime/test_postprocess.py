"""Properties of the post-processing, and bit-for-bit agreement with scipy and OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from automask import ParameterError, postprocess

Mask = NDArray[np.uint8]


def masks(min_side: int = 1, max_side: int = 70) -> st.SearchStrategy[Mask]:
    """Masks of every density: sparse ones show single discs, dense ones show joins."""
    shapes = st.tuples(st.integers(min_side, max_side), st.integers(min_side, max_side))
    densities = st.sampled_from([0.0, 0.00005, 0.002, 0.02, 0.3, 1.0])

    def draw(shape: tuple[int, int], density: float, seed: int) -> Mask:
        return (np.random.default_rng(seed).random(shape) < density).astype(np.uint8) * np.uint8(255)

    return st.builds(draw, shapes, densities, st.integers(0, 2**32 - 1))


def disc(radius: int) -> Mask:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius, np.uint8)


@given(masks(), st.integers(0, 100))
def test_grow_equals_opencv(mask: Mask, radius: int) -> None:
    reference = cv2.dilate(mask, disc(radius), borderType=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0))
    np.testing.assert_array_equal(postprocess.grow(mask, radius), reference)


@given(masks(), st.integers(0, 100))
def test_grow_equals_scipy_distance(mask: Mask, radius: int) -> None:
    reference = ndimage.distance_transform_edt(mask == 0) <= radius if mask.any() else np.zeros_like(mask)
    np.testing.assert_array_equal(postprocess.grow(mask, radius) > 0, reference)


@given(masks(200, 400), st.integers(0, 100))
def test_grow_of_cells_and_tiles_equals_scipy(mask: Mask, radius: int) -> None:
    """Large enough for tiles that are surely set, surely not set, and worked out, beside each other."""
    reference = ndimage.distance_transform_edt(mask == 0) <= radius if mask.any() else np.zeros_like(mask)
    np.testing.assert_array_equal(postprocess.grow(mask, radius) > 0, reference)


@pytest.mark.parametrize("radius", range(1, 101))
def test_grow_of_one_pixel_in_each_corner_of_a_cell_is_the_disc(radius: int) -> None:
    """Where a cell is surely set or surely not, its farthest or nearest pixels decide."""
    y, x = np.mgrid[:330, :330]
    for row, column in ((112, 160), (112, 167), (119, 160), (119, 167)):
        mask = np.zeros((330, 330), np.uint8)
        mask[row, column] = mask[0, 329] = 1  # the second one puts the first row at the edge of a cell
        nearest = np.minimum((y - row) ** 2 + (x - column) ** 2, y**2 + (x - 329) ** 2)
        np.testing.assert_array_equal(postprocess.grow(mask, radius), (nearest <= radius * radius) * 255)


@pytest.mark.parametrize("radius", [1, 7, 8, 9, 31, 64, 100])
@pytest.mark.parametrize("width", [799, 800, 801])
def test_grow_across_tiles_and_byte_borders(radius: int, width: int) -> None:
    """Pictures of more tiles than are worked out at once, with objects at all four edges and corners."""
    mask = np.zeros((1501, width), np.uint8)
    mask[[0, 0, 1500, 1500, 700, 655, 656], [0, width - 1, 0, width - 1, width // 2, 0, width - 1]] = 255
    reference = cv2.dilate(mask, disc(radius), borderType=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0))
    np.testing.assert_array_equal(postprocess.grow(mask, radius), reference)


@given(masks(), st.integers(0, 40), st.integers(0, 40))
def test_grow_is_extensive_and_monotone(mask: Mask, radius: int, more: int) -> None:
    grown, grown_more = postprocess.grow(mask, radius), postprocess.grow(mask, min(100, radius + more))
    assert (mask <= grown).all()
    assert (grown <= grown_more).all()
    smaller = mask & np.roll(mask, 1, axis=0)
    assert (postprocess.grow(smaller, radius) <= grown).all()


@given(masks())
def test_grow_zero_and_inverting_twice_are_the_identity(mask: Mask) -> None:
    np.testing.assert_array_equal(postprocess.grow(mask, 0), mask)
    np.testing.assert_array_equal(postprocess.invert(postprocess.invert(mask)), mask)
    assert not (postprocess.invert(mask) & mask).any()


@given(masks(2), masks(2), masks(2))
def test_union_and_subtract_are_set_operations(a: Mask, b: Mask, c: Mask) -> None:
    height, width = (min(sides) for sides in zip(a.shape, b.shape, c.shape, strict=True))
    a, b, c = (mask[:height, :width] for mask in (a, b, c))
    np.testing.assert_array_equal(postprocess.union([a, b, c]), np.maximum(np.maximum(a, b), c))
    np.testing.assert_array_equal(postprocess.subtract(a, b) > 0, (a > 0) & (b == 0))
    np.testing.assert_array_equal(postprocess.union([postprocess.subtract(a, b), a & b]), a)


@given(hnp.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32)), st.floats(0, 1), st.floats(0, 1))
def test_threshold_is_antitone(scores: NDArray[np.float32], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert (postprocess.threshold(scores, high) <= postprocess.threshold(scores, low)).all()
    np.testing.assert_array_equal(postprocess.threshold(scores, low) == 255, scores >= np.float32(low))


def test_threshold_keeps_its_ends_and_drops_nan() -> None:
    scores = np.array([[0.0, 0.2, 1.0, np.nan]], np.float32)
    assert postprocess.threshold(scores, 0).tolist() == [[255, 255, 255, 0]]
    assert postprocess.threshold(scores, 0.2).tolist() == [[0, 255, 255, 0]]
    assert postprocess.threshold(scores, 1).tolist() == [[0, 0, 255, 0]]


@given(masks(1, 30))
def test_alpha_and_preview_keep_the_other_pixels(mask: Mask) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), np.uint8)
    cut = postprocess.alpha(image, mask)
    np.testing.assert_array_equal(cut[..., :3], image)
    np.testing.assert_array_equal(cut[..., 3], mask)
    tinted = postprocess.preview(image, mask, colour=(10, 200, 31))
    np.testing.assert_array_equal(tinted[mask == 0], image[mask == 0])
    np.testing.assert_array_equal(tinted[mask > 0], image[mask > 0] // 2 + np.array([5, 100, 15], np.uint8))


def test_inputs_are_not_changed() -> None:
    mask = np.full((5, 5), 255, np.uint8)
    mask[2, 2] = 0
    mask.flags.writeable = False
    image = np.zeros((5, 5, 3), np.uint8)
    image.flags.writeable = False
    postprocess.grow(mask, 3)
    postprocess.invert(mask)
    postprocess.union([mask])[:] = 0
    postprocess.preview(image, mask)
    assert mask[2, 2] == 0
    assert mask.sum() == 24 * 255


@pytest.mark.parametrize("radius", [-1, 101, 1.5, True, "3", None])
def test_grow_names_a_bad_radius(radius: int) -> None:
    with pytest.raises(ParameterError, match=r"grow_mask must be an integer in \[0, 100\], got "):
        postprocess.grow(np.zeros((2, 2), np.uint8), radius)


def test_bad_arrays_are_named() -> None:
    mask = np.zeros((2, 2), np.uint8)
    with pytest.raises(ParameterError, match=r"threshold must be in \[0, 1\], got 1.7"):
        postprocess.threshold(np.zeros((2, 2), np.float32), 1.7)
    with pytest.raises(ParameterError, match=r"score_map must have the shape \(H, W\), got \(2,\)"):
        postprocess.threshold(np.zeros(2, np.float32), 0.5)
    with pytest.raises(ParameterError, match=r"mask must be a \(H, W\) array of uint8, got 'float64 \(2, 2\)'"):
        postprocess.grow(np.zeros((2, 2)), 1)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="masks must hold at least one mask"):
        postprocess.union([])
    with pytest.raises(ParameterError, match=r"mask must have the shape \(2, 2\), got \(3, 2\)"):
        postprocess.union([mask, np.zeros((3, 2), np.uint8)])
    with pytest.raises(ParameterError, match=r"image must be a \(H, W, 3\) array of uint8"):
        postprocess.alpha(mask, mask)
