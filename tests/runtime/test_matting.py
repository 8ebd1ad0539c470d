"""Edges of masks: what refining, softening and feathering may change, and what never."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from automask.errors import ParameterError
from automask.matting import edge_radius, feather, foreground, matte, refine
from automask.postprocess import grow

Array = NDArray[np.uint8]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Array, Array]:
    """A mask of blobs and a photo of noise, of one small size."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blobs = cv2.blur(rng.random((height, width)), (5, 5)).reshape(height, width)
    mask = np.where(blobs > draw(st.floats(0.3, 0.7)), 255, 0).astype(np.uint8)
    return mask, rng.integers(0, 256, (height, width, 3), np.uint8)


def far_from_the_outline(mask: Array, radius: int) -> NDArray[np.bool_]:
    """Pixels whose square window of `radius` holds one value only."""
    padded = np.pad(mask, radius, "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    return np.asarray(windows.min(axis=(2, 3)) == windows.max(axis=(2, 3)))


@given(scenes(), st.integers(0, 12))
def test_refine_changes_nothing_far_from_the_outline(scene: tuple[Array, Array], radius: int) -> None:
    mask, image = scene
    refined = refine(mask, image, radius)
    assert set(np.unique(refined)) <= {0, 255}
    assert refined is not mask
    # The window is measured in whole steps of the samples: at most twice the radius and a step.
    far = far_from_the_outline(mask, 2 * radius + 2)
    assert np.array_equal(refined[far], mask[far])
    assert np.array_equal(matte(mask, image, radius)[far], mask[far])


@given(scenes(), st.integers(0, 12))
def test_a_matte_cut_at_half_is_the_refined_mask(scene: tuple[Array, Array], radius: int) -> None:
    mask, image = scene
    assert np.array_equal(matte(mask, image, radius) >= 128, refine(mask, image, radius) == 255)


@given(scenes())
def test_radius_zero_is_the_identity(scene: tuple[Array, Array]) -> None:
    mask, image = scene
    assert np.array_equal(refine(mask, image, 0), mask)
    assert np.array_equal(matte(mask, image, 0), mask)
    assert np.array_equal(foreground(image, mask, 0), image)


@given(scenes(), st.integers(1, 12))
def test_a_mask_and_its_complement_are_refined_alike(scene: tuple[Array, Array], radius: int) -> None:
    mask, image = scene
    alpha, complement = matte(mask, image, radius).astype(int), matte(~mask, image, radius).astype(int)
    assert np.abs(alpha + complement - 255).max() <= 1


@pytest.mark.parametrize("radius", [2, 3, 6, 7, 20])
@pytest.mark.parametrize("shift", [-1, 1])
def test_the_outline_moves_to_the_edge_in_the_photo(radius: int, shift: int) -> None:
    truth = np.zeros((200, 180), np.uint8)
    cv2.circle(truth, (90, 100), 60, 255, -1)
    drawn = np.zeros_like(truth)
    cv2.circle(drawn, (90, 100), 60 + shift * max(1, radius // 3), 255, -1)
    image = np.where(truth[..., None] > 0, np.array([200, 60, 40], np.uint8), np.array([40, 90, 120], np.uint8))
    refined = refine(drawn, image, radius)
    assert (refined != truth).mean() < 0.2 * (drawn != truth).mean()


def test_a_matte_finds_how_much_of_a_pixel_the_object_covers() -> None:
    height, width = 120, 160
    slope = np.clip((np.arange(width) - 70) / 20, 0, 1)  # 20 pixels of blur
    truth = np.tile(slope, (height, 1))
    object_, background = np.array([220, 180, 60.0]), np.array([20, 40, 90.0])
    image = (truth[..., None] * object_ + (1 - truth[..., None]) * background + 0.5).astype(np.uint8)
    mask = np.where(truth >= 0.5, 255, 0).astype(np.uint8)
    alpha = matte(mask, image, 20)
    hard, soft = np.abs(mask / 255 - truth).mean(), np.abs(alpha / 255 - truth).mean()
    assert soft < 0.6 * hard

    cut = foreground(image, alpha, 20)
    visible = (alpha >= 64) & (alpha < 255)
    before = np.abs(image[visible] - object_).mean()
    assert np.abs(cut[visible].astype(float) - object_).mean() < 0.5 * before


@given(scenes(), st.integers(0, 12))
def test_foreground_changes_only_soft_pixels(scene: tuple[Array, Array], radius: int) -> None:
    mask, image = scene
    alpha = matte(mask, image, radius)
    kept, colours = image.copy(), foreground(image, alpha, radius)
    solid = (alpha == 0) | (alpha == 255)
    assert np.array_equal(colours[solid], image[solid])
    assert np.array_equal(image, kept)


@given(scenes(), st.integers(0, 100))
def test_feather_keeps_the_mask_and_ends_where_it_should(scene: tuple[Array, Array], width: int) -> None:
    mask, _ = scene
    ramp = feather(mask, width)
    assert np.array_equal(ramp[mask > 0], mask[mask > 0])
    reach = grow(mask, min(100, 2 * width))  # the window of the blur is square: its corners reach further
    assert not ramp[reach == 0].any()


@given(scenes())
def test_feather_of_nothing_is_the_identity(scene: tuple[Array, Array]) -> None:
    assert np.array_equal(feather(scene[0], 0), scene[0])


@given(scenes(), st.integers(0, 100), st.integers(0, 2**32 - 1))
def test_feather_is_monotone(scene: tuple[Array, Array], width: int, seed: int) -> None:
    mask, _ = scene
    more = np.where(np.random.default_rng(seed).random(mask.shape) < 0.05, np.uint8(255), mask)
    assert (feather(more, width) >= feather(mask, width)).all()


def test_a_feather_falls_evenly() -> None:
    mask = np.zeros((20, 200), np.uint8)
    mask[:, :50] = 255
    ramp = feather(mask, 40)[10].astype(int)
    assert (np.diff(ramp) <= 0).all()
    assert np.abs(np.diff(ramp)).max() <= 255 / 10
    assert ramp[50 + 20] == pytest.approx(128, abs=16)
    assert ramp[50 + 40] == 0
    assert ramp[50 + 36] > 0


@pytest.mark.parametrize(("height", "width", "radius"), [(480, 640, 6), (1, 1, 1), (3000, 4000, 40)])
def test_the_radius_grows_with_the_photo(height: int, width: int, radius: int) -> None:
    assert edge_radius(height, width) == radius


GREY, PHOTO = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: refine(GREY, PHOTO[:3], 1), r"mask must have the shape \(3, 5\)"),
        (lambda: matte(GREY.astype(float), PHOTO, 1), r"mask must be a \(H, W\) array of uint8"),
        (lambda: foreground(PHOTO[..., 0], GREY, 1), r"image must be a \(H, W, 3\) array of uint8"),
        (lambda: refine(GREY, PHOTO, -1), "radius must be 0 or more, got -1"),
        (lambda: feather(GREY, 101), r"feather must be an integer in \[0, 100\], got 101"),
        (lambda: feather(GREY, True), "feather must be an integer"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        call()


def test_a_refined_outline_has_no_teeth_of_one_pixel() -> None:
    """Single pixels in the colour of the other side, as in fur, do not notch the outline."""
    height, width, edge = 90, 120, 60
    mask = np.where(np.arange(width) < edge, np.uint8(255), np.uint8(0)) * np.ones((height, 1), np.uint8)
    image = np.where(mask[..., None] > 0, np.array([200, 60, 40], np.uint8), np.array([40, 90, 120], np.uint8))
    image[2:-2:4, edge - 1], image[4:-2:4, edge] = image[0, -1], image[0, 0]
    assert np.array_equal(refine(mask, image, 6), mask)
    assert np.array_equal(matte(mask, image, 6) >= 128, mask == 255)
