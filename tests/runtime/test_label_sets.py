"""Label sets as words: detectors, nets with masks and labels, label maps, whose outputs are fixed here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask.errors import BundleError, ParameterError, UnknownPromptError
from support.constant_bundles import constant_bundle, plain_vocabulary

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]

LABELS = ("cat", "dog", "sky", "wall")
PLAIN: dict[str, Any] = {"grow_mask": 0, "edges": "model"}
ANIMAL = {"name": "animal", "words": ["animal"], "members": [0, 1]}
IMAGE = np.zeros((32, 64, 3), np.uint8)
COLUMNS = np.zeros((2, 4, 3), np.uint8)  # one pixel for each score of `label_map`


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def square(top: int, left: int, side: int = 4) -> Array:
    """Logits of a mask of 16 × 16 that is nearly certain inside a square and outside."""
    mask = np.full((16, 16), -12, np.float32)
    mask[top : top + side, left : left + side] = 12
    return mask


def class_logits(*rows: dict[str, float]) -> Array:
    """Logits with these probabilities; the last class, "no object", has the rest."""
    table = np.full((len(rows), len(LABELS) + 1), 1e-6)
    for row, probabilities in enumerate(rows):
        for label, probability in probabilities.items():
            table[row, LABELS.index(label)] = probability
        table[row, -1] = 1 - sum(probabilities.values())
    return np.asarray(np.log(table), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("label-sets")


@pytest.fixture(scope="module")
def regions(folder: Path) -> automask.Segmenter:
    """A cat, a dog that may be a cat, two pieces of sky, and a mask of nothing."""
    rows = ({"cat": 0.9}, {"cat": 0.2, "dog": 0.7}, {"sky": 0.8}, {"sky": 0.6}, {"wall": 0.9})
    masks = np.stack([square(0, 0), square(0, 8), square(8, 0), square(8, 8), np.full((16, 16), -1, np.float32)])
    outputs = {"class_logits": class_logits(*rows), "mask_logits": masks}
    text = {"file": "vocabulary.json", "stuff": [2, 3]}
    words = plain_vocabulary(LABELS, unions=[ANIMAL])
    made = constant_bundle(folder / "regions", "regions", "segmenter", outputs, LABELS, text=text, vocabulary=words)
    return automask.load(made, device="cpu")


def test_a_thing_is_an_instance(regions: automask.Segmenter) -> None:
    result = regions.mask(IMAGE, "a cat", **PLAIN)
    (cat,) = result.instances
    assert (cat.label, cat.box) == ("cat", (0, 0, 16, 8))
    assert cat.score == pytest.approx(0.2 + 0.8 * (0.9 - 0.5) / 0.5, abs=1e-3)  # calibrated: 0.5 is 0.2
    assert result.mask[:7, :15].all()
    assert not result.mask[9:].any()
    assert not result.mask[:, 17:].any()


def test_a_lower_threshold_finds_what_is_more_likely_another_label(regions: automask.Segmenter) -> None:
    result = regions.mask(IMAGE, "cat", threshold=0.05, **PLAIN)
    assert [(one.label, one.box[0]) for one in result.instances] == [("cat", 0), ("cat", 32)]


def test_stuff_is_one_region(regions: automask.Segmenter) -> None:
    (sky,) = regions.mask(IMAGE, "the sky", **PLAIN).instances
    assert sky.box == (0, 16, 48, 24)
    assert sky.score == pytest.approx(0.2 + 0.8 * (0.8 - 0.5) / 0.5, abs=1e-3)  # of the best piece
    assert [bool(sky.mask[20, column]) for column in (8, 24, 40, 56)] == [True, False, True, False]


def test_a_union_has_each_object_once(regions: automask.Segmenter) -> None:
    result = regions.mask(IMAGE, "animals", threshold=0.05, **PLAIN)
    assert [one.label for one in result.instances] == ["cat", "dog"]
    assert result.labels == ("cat", "dog")


def test_a_mask_without_a_pixel_is_not_found(regions: automask.Segmenter) -> None:
    result = regions.mask(IMAGE, "wall", threshold=0, **PLAIN)
    assert all(one.mask.any() for one in result.instances)
    assert regions.mask(IMAGE, "wall", **PLAIN).is_empty


def test_exclusion_and_dropped_words(regions: automask.Segmenter) -> None:
    result = regions.mask(IMAGE, "animals except the dog", threshold=0.1, **PLAIN)
    assert not result.mask[:8, 32:].any()
    assert result.mask[:7, :15].all()
    assert regions.mask(IMAGE, "the red cat on the left", **PLAIN).dropped == ("red", "on the left")


def test_instances_can_be_picked(regions: automask.Segmenter) -> None:
    dog = regions.mask(IMAGE, "animals", keep=[1], threshold=0.05, **PLAIN)
    assert [one.label for one in dog.instances] == ["dog"]
    cat = regions.mask(IMAGE, "animals", drop=[1], threshold=0.05, **PLAIN)
    assert [one.label for one in cat.instances] == ["cat"]
    with pytest.raises(ParameterError, match="below 2"):
        regions.mask(IMAGE, "animals", keep=[2], threshold=0.05, **PLAIN)


@pytest.mark.parametrize("selection", [{"box": (0, 0, 9, 9)}, {"points": [(3, 3, 1)]}])
def test_regions_take_no_boxes_and_points(regions: automask.Segmenter, selection: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="draws its masks without boxes and points"):
        regions.mask(IMAGE, "cat", **selection)


def test_fine_edges_leave_the_instances(regions: automask.Segmenter) -> None:
    fine, model = (regions.mask(IMAGE, "cat", edges=edges, grow_mask=0) for edges in ("fine", "model"))
    assert fine.instances == model.instances


def test_the_graph_runs_once_for_a_picture(regions: automask.Segmenter, runs: Counter[str]) -> None:
    other = np.ones_like(IMAGE)
    regions.mask(other, ["cat", "dog", "sky"], **PLAIN)
    regions.mask(other, "wall", **PLAIN)
    assert runs == {"class_logits": 1}


def test_unknown_words_are_refused(regions: automask.Segmenter) -> None:
    with pytest.raises(UnknownPromptError, match="spoon"):
        regions.mask(IMAGE, "cat and spoon")


def test_hundreds_of_masks_are_limited_with_a_warning(folder: Path) -> None:
    many = class_logits(*[{"cat": 0.9 - number / 1000} for number in range(300)])
    masks = np.repeat(square(0, 0)[None], 300, axis=0)
    text = {"file": "vocabulary.json", "stuff": []}
    outputs = {"class_logits": many, "mask_logits": masks}
    made = constant_bundle(folder / "many", "regions", "segmenter", outputs, LABELS, text=text)
    result = automask.load(made, device="cpu").mask(IMAGE, "cat", **PLAIN)
    assert len(result.instances) == 100
    assert "100 best ones" in result.warnings[0]


def test_padding_is_cut_off(folder: Path) -> None:
    """A fitted image of 32 × 64 fills the upper half of the square, so the masks' lower half is no part of it."""
    masks = np.stack([square(4, 0), square(8, 0)])
    outputs = {"class_logits": class_logits({"cat": 0.9}, {"dog": 0.9}), "mask_logits": masks}
    text = {"file": "vocabulary.json", "stuff": []}
    pixels = {"resize": "longest_side", "multiple": 4, "padding": [0, 0, 0]}
    made = constant_bundle(folder / "padded", "regions", "segmenter", outputs, LABELS, pixels=pixels, text=text)
    segmenter = automask.load(made, device="cpu")
    (cat,) = segmenter.mask(IMAGE, "cat", **PLAIN).instances
    assert cat.box == (0, 16, 16, 32)
    assert segmenter.mask(IMAGE, "dog", threshold=0.01, **PLAIN).is_empty


@pytest.fixture(scope="module")
def label_map(folder: Path) -> automask.Segmenter:
    """Four columns: a cat; cat, dog and sky nearly alike; sky; wall."""
    columns = np.array([[0.7, 0.1, 0.1, 0.1], [0.34, 0.33, 0.23, 0.1], [0, 0, 0.9, 0.1], [0, 0, 0.1, 0.9]]).T + 1e-9
    outputs = {"logits": np.log(columns)[:, None, :].repeat(2, axis=1).astype(np.float32)}
    words = plain_vocabulary(LABELS, unions=[ANIMAL, {"name": "all", "words": ["thing"], "members": [0, 1, 2, 3]}])
    made = constant_bundle(
        folder / "label-map", "dense", "segmenter", outputs, LABELS, kinds={"scores": "labels"}, vocabulary=words
    )
    return automask.load(made, device="cpu")


def test_a_score_is_that_of_the_label_beside_the_best_other_one(label_map: automask.Segmenter) -> None:
    scores = label_map.mask(COLUMNS, "cat", **PLAIN).score_map
    assert scores is not None
    raw = [0.7 / 0.8, 0.34 / 0.67, 0, 0]
    np.testing.assert_allclose(scores[1], np.interp(raw, [0, 0.5, 1], [0, 0.2, 1]), atol=1e-3)


def test_the_default_threshold_takes_the_best_label(label_map: automask.Segmenter) -> None:
    cat, dog, sky, wall = label_map.mask(COLUMNS, list(LABELS), **PLAIN)
    assert [one.mask[1].tolist() for one in (cat, dog, sky, wall)] == [
        [255, 255, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 255, 0],
        [0, 0, 0, 255],
    ]
    assert (cat.instances, cat.labels) == ((), ("cat",))


def test_labels_of_a_union_add_up(label_map: automask.Segmenter) -> None:
    scores = label_map.mask(COLUMNS, "animal", **PLAIN).score_map
    assert scores is not None
    assert scores[0, 1] == pytest.approx(np.interp(0.67 / 0.9, [0, 0.5, 1], [0, 0.2, 1]), abs=1e-3)
    assert label_map.mask(IMAGE, "things", **PLAIN).mask.all()


def test_a_label_map_runs_once_and_selects_nothing(label_map: automask.Segmenter, runs: Counter[str]) -> None:
    other = np.ones_like(IMAGE)
    label_map.mask(other, ["cat", "sky"], **PLAIN)
    label_map.mask(other, "wall and dog", **PLAIN)
    assert runs == {"logits": 1}
    with pytest.raises(ParameterError, match="scores pixels and finds no objects"):
        label_map.mask(IMAGE, "cat", keep=[0])


def detector(folder: Path, name: str, logits: Array, boxes: NDArray[Any], **pixels: Any) -> automask.Segmenter:
    outputs = {"logits": logits.astype(np.float32), "boxes": boxes.astype(np.float32)}
    return automask.load(
        constant_bundle(folder / name, "boxes", "detector", outputs, LABELS, pixels={"scores": "sigmoid", **pixels}),
        device="cpu",
    )


BOXES = np.array([[0.25, 0.25, 0.5, 0.5], [0.75, 0.5, 0.5, 0.5], [1, 1, 0.5, 0.5]])
SIGMOID = np.full((3, 4), -9, np.float32)
SIGMOID[[0, 1, 2], [0, 1, 1]] = [logit(0.9), logit(0.8), logit(0.4)]


def test_boxes_are_in_pixels_and_inside_the_image(folder: Path) -> None:
    segmenter = detector(folder, "sigmoid", SIGMOID, BOXES)
    (cat,) = segmenter.mask(IMAGE, "cat", **PLAIN).instances
    assert (cat.box, cat.label) == ((0, 0, 32, 16), "cat")
    assert cat.score == pytest.approx(0.84, abs=1e-3)
    assert [one.box for one in segmenter.mask(IMAGE, "dog", threshold=0.1, **PLAIN).instances] == [
        (32, 8, 64, 24),
        (48, 24, 64, 32),
    ]
    assert segmenter.mask(IMAGE, "sky", **PLAIN).is_empty


def test_softmax_has_a_class_for_no_object(folder: Path) -> None:
    segmenter = detector(folder, "softmax", class_logits({"cat": 0.9}, {"dog": 0.6}, {}), BOXES, scores="softmax")
    assert [one.score for one in segmenter.mask(IMAGE, "cat", **PLAIN).instances] == [pytest.approx(0.84, abs=1e-3)]
    assert segmenter.mask(IMAGE, "wall", **PLAIN).is_empty


def test_boxes_beside_the_padding(folder: Path) -> None:
    """A fitted image of 32 × 64 is the upper half of the square, to which the boxes are relative."""
    segmenter = detector(folder, "fitted", SIGMOID, BOXES, resize="longest_side")
    (cat,) = segmenter.mask(IMAGE, "cat", **PLAIN).instances
    assert cat.box == (0, 0, 32, 32)


def test_thousands_of_detections(folder: Path) -> None:
    boxes = np.random.default_rng(0).uniform(0.1, 0.9, (5000, 4))
    segmenter = detector(folder, "thousands", np.full((5000, 4), 3, np.float32), boxes)
    result = segmenter.mask(IMAGE, "cat and dog", **PLAIN)
    assert len(result.instances) == 100
    assert "100 best ones" in result.warnings[0]


def test_a_detector_that_finds_an_object_twice(folder: Path) -> None:
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.51, 0.5, 0.5, 0.5]])
    logits = np.full((2, 4), -9, np.float32)
    logits[:, 0] = [2, 1]
    assert len(detector(folder, "twice", logits, boxes).mask(IMAGE, "cat", **PLAIN).instances) == 2
    assert len(detector(folder, "once", logits, boxes, nms_iou=0.5).mask(IMAGE, "cat", **PLAIN).instances) == 1


def test_a_box_selects_an_object_of_a_detector(folder: Path) -> None:
    segmenter = detector(folder, "selected", SIGMOID, BOXES)
    result = segmenter.mask(IMAGE, "cat", box=(0, 0, 30, 16), **PLAIN)
    assert [one.box for one in result.instances] == [(0, 0, 30, 16)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": {"scores": "magic"}}, "scores 'magic'; this version of automask knows clipseg, "),
        ({"image": {}}, "segmenter"),
        ({"text": {}}, "file"),
    ],
)
def test_a_manifest_without_a_setting_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    kinds: dict[str, Any] = {"kinds": {"scores": "labels"}, **changes}
    logits = np.zeros((4, 2, 2), np.float32)
    made = constant_bundle(tmp_path / "bad", "dense", "segmenter", {"logits": logits}, LABELS, **kinds)
    with pytest.raises(BundleError, match=message):
        automask.load(made, device="cpu")


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    outputs = {"class_logits": np.zeros((3, 4), np.float32), "mask_logits": np.zeros((3, 4, 4), np.float32)}
    text = {"file": "vocabulary.json", "stuff": []}
    made = constant_bundle(tmp_path / "bad", "regions", "segmenter", outputs, LABELS, text=text)
    with pytest.raises(BundleError, match="class_logits"):
        automask.load(made, device="cpu")
