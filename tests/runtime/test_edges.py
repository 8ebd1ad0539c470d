"""The parameters edges, alpha and feather, through `Segmenter.mask`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask.parameters import Edges

Pixels = NDArray[np.uint8]
EDGES: tuple[Edges, ...] = ("fast", "fine", "model")


@pytest.fixture(scope="module")
def segmenter() -> automask.Segmenter:
    return automask.load(device="cpu", precision="fp32")


def iou(one: Pixels, other: Pixels) -> float:
    return float(((one > 0) & (other > 0)).sum() / ((one > 0) | (other > 0)).sum())


def read(data: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def outline_contrast(mask: Pixels, image: Pixels) -> float:
    """Mean difference of colour between the two sides of the outline."""
    steps = mask[:, 1:] != mask[:, :-1]
    return float(np.abs(np.diff(image.astype(float), axis=1)).sum(axis=2)[steps].mean())


def test_the_default_follows_the_photo(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    default = segmenter.mask(astronaut, "person", grow_mask=0)
    fast, fine, model = (segmenter.mask(astronaut, "person", grow_mask=0, edges=one) for one in EDGES)
    assert np.array_equal(default.mask, fast.mask)
    assert outline_contrast(fast.mask, astronaut) > 1.2 * outline_contrast(model.mask, astronaut)
    assert outline_contrast(fine.mask, astronaut) > 1.2 * outline_contrast(model.mask, astronaut)
    assert 0.95 < iou(fast.mask, model.mask) < 1
    assert 0.9 < iou(fine.mask, model.mask) < 1
    assert np.array_equal(postunion(model), model.mask)


def postunion(result: automask.Result) -> Pixels:
    return np.asarray(np.bitwise_or.reduce([one.mask for one in result.instances]), np.uint8)


def test_a_soft_cut_out_agrees_with_its_mask(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    soft = segmenter.mask(astronaut, "person", grow_mask=0, return_alpha=True, alpha="soft")
    hard = segmenter.mask(astronaut, "person", grow_mask=0, return_alpha=True)
    assert soft.opacity is not None
    assert hard.opacity is None
    assert np.array_equal(soft.opacity >= 128, soft.mask == 255)
    assert np.array_equal(soft.mask, hard.mask)
    assert len(np.unique(soft.alpha[..., 3])) > 100
    assert set(np.unique(hard.alpha[..., 3])) == {0, 255}
    opaque = soft.alpha[..., 3] == 255
    assert np.array_equal(soft.alpha[opaque, :3], astronaut[opaque])
    assert (soft.alpha[~opaque, :3] != astronaut[~opaque]).any()  # freed of the background
    sent = read(soft.encode())
    assert np.array_equal(sent[..., 3], soft.opacity)


def test_inverted_a_soft_cut_out_is_the_complement(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    soft, rest = (
        segmenter.mask(astronaut, "person", grow_mask=0, alpha="soft", invert_mask=invert) for invert in (False, True)
    )
    assert soft.opacity is not None
    assert rest.opacity is not None
    assert np.array_equal(soft.opacity, 255 - rest.opacity)


def test_what_is_excluded_is_not_in_the_cut_out(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    table = segmenter.mask(coffee, "dining table", exclude="cup", grow_mask=0, alpha="soft", feather=20)
    cup = segmenter.mask(coffee, "cup", grow_mask=0)
    assert table.opacity is not None
    assert cup.mask.any()
    assert not table.opacity[cup.mask > 0].any()


@pytest.mark.parametrize("invert", [False, True])
def test_a_feather_is_in_the_picture_and_not_in_the_mask(
    segmenter: automask.Segmenter, coffee: Pixels, invert: bool, tmp_path: Path
) -> None:
    plain = segmenter.mask(coffee, "cup", invert_mask=invert)
    ramp = segmenter.mask(coffee, "cup", invert_mask=invert, feather=30)
    assert np.array_equal(plain.mask, ramp.mask)
    picture = read(ramp.save(tmp_path / "ramp.png").read_bytes())
    assert ramp.opacity is not None
    assert np.array_equal(picture, ramp.opacity)
    assert len(np.unique(picture)) > 50
    assert np.array_equal(picture > 0 if invert else picture == 255, plain.mask == 255)


def test_a_large_photo_has_smooth_edges_too(segmenter: automask.Segmenter, astronaut: Pixels, tmp_path: Path) -> None:
    """A large JPEG is decoded at a fraction of its size, and its edges follow that copy."""
    large = cv2.resize(astronaut, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    file = tmp_path / "large.jpg"
    cv2.imwrite(str(file), large[..., ::-1])
    mask = segmenter.mask(file, "person", grow_mask=0).mask
    small = segmenter.mask(astronaut, "person", grow_mask=0).mask
    assert mask.shape == (4096, 4096)
    assert iou(mask[4::8, 4::8], small) > 0.97


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edges": "sharp"}, "edges must be one of fast, fine, model, got 'sharp'"),
        ({"alpha": "medium"}, "alpha must be one of hard, soft, got 'medium'"),
        ({"feather": 101}, r"feather must be an integer in \[0, 100\], got 101"),
    ],
)
def test_other_values_are_refused(
    segmenter: automask.Segmenter, coffee: Pixels, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(automask.ParameterError, match=message):
        segmenter.mask(coffee, "cup", **options)


def test_an_empty_mask_stays_empty(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    for edges in EDGES:
        result = segmenter.mask(coffee, "zebra", edges=edges, alpha="soft", feather=5)
        assert result.is_empty
        assert not result.mask.any()
