"""Family `concept`, used as a user would, on a bundle that finds colours."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask import postprocess
from automask.bundle import MANIFEST
from automask.devices import DEVICES
from automask.errors import BundleError, EmptyMaskError, ImageError, ParameterError
from support.command_line import run_text
from support.concept_bundles import LENGTH, colour_bundle, two_rectangles

Pixels = NDArray[np.uint8]
PLAIN: dict[str, Any] = {"grow_mask": 0, "edges": "model"}
BOTH = "a red thing, and a blue thing"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_bundle(tmp_path_factory.mktemp("concept") / "colours")


@pytest.fixture
def segmenter(bundle: Path) -> automask.Segmenter:
    return automask.load(bundle, device="cpu")


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return two_rectangles()


def colour(photo: Pixels, name: str) -> NDArray[np.bool_]:
    return np.asarray((photo == {"red": (255, 0, 0), "blue": (0, 0, 255)}[name]).all(axis=2))


def iou(mask: Pixels, expected: NDArray[np.bool_]) -> float:
    return float(((mask > 0) & expected).sum() / ((mask > 0) | expected).sum())


def test_a_phrase_gives_its_objects(segmenter: automask.Segmenter, photo: Pixels) -> None:
    result = segmenter.mask(photo, "the red thing", **PLAIN)
    (found,) = result.instances
    assert (found.label, found.box) == ("the red thing", (0.0, 0.0, 150.0, 200.0))
    assert iou(result.mask, colour(photo, "red")) > 0.8
    np.testing.assert_array_equal(found.mask, result.mask)
    assert (result.labels, result.dropped, result.warnings) == (("the red thing",), (), ())


def test_the_score_is_the_product_of_presence_and_instance(segmenter: automask.Segmenter, photo: Pixels) -> None:
    # The colour itself has a logit of 4, its presence 5; a raw score of 0.5 is 0.2.
    (found,) = segmenter.mask(photo, "red", **PLAIN).instances
    raw = 1 / (1 + np.exp(-4)) / (1 + np.exp(-5))
    assert found.score == pytest.approx(np.interp(raw, [0, 0.5, 1], [0, 0.2, 1]), abs=1e-6)


def test_the_score_map_is_of_the_whole_concept_and_the_mask_of_the_objects(
    segmenter: automask.Segmenter, photo: Pixels
) -> None:
    result = segmenter.mask(photo, "red", **PLAIN)
    assert result.score_map is not None
    assert result.score_map.shape == photo.shape[:2]
    assert iou(postprocess.threshold(result.score_map, 0.2), colour(photo, "red")) > 0.8
    nothing = segmenter.mask(photo, "red", threshold=1, **PLAIN)
    assert nothing.is_empty
    assert nothing.score_map is not None
    assert nothing.score_map.max() > 0.9


def test_phrases_prompts_and_exclusions(segmenter: automask.Segmenter, photo: Pixels) -> None:
    both = segmenter.mask(photo, BOTH, **PLAIN)
    assert [one.label for one in both.instances] == ["a red thing", "a blue thing"]
    red, blue = segmenter.mask(photo, ["red", "blue"], **PLAIN)
    np.testing.assert_array_equal(both.mask, red.mask | blue.mask)
    without = segmenter.mask(photo, BOTH, exclude="blue", **PLAIN)
    np.testing.assert_array_equal(without.mask, red.mask)
    rest = segmenter.mask(photo, "everything but the red thing", **PLAIN)
    np.testing.assert_array_equal(rest.mask, ~red.mask)


def test_an_object_that_two_phrases_describe_is_taken_once(segmenter: automask.Segmenter, photo: Pixels) -> None:
    assert len(segmenter.mask(photo, "a red thing, the red one", **PLAIN).instances) == 1


def test_each_part_is_computed_once(segmenter: automask.Segmenter, photo: Pixels, runs: Counter[str]) -> None:
    segmenter.mask(photo, ["red", "blue", "RED"])
    assert runs == {"fpn_0": 1, "features": 2, "boxes": 2}  # on a CPU, one concept a call
    segmenter.mask(photo, ["red", "blue"], threshold=0.5)
    assert runs == {"fpn_0": 1, "features": 2, "boxes": 2}
    segmenter.mask(photo, "green")
    segmenter.mask(photo[:, ::-1], "green")
    assert runs == {"fpn_0": 2, "features": 3, "boxes": 4}


def test_concepts_are_batched_on_a_device_that_batches(
    bundle: Path, photo: Pixels, runs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [f"{name} thing {number}" for name in ("red", "blue") for number in range(32)]
    alone = automask.load(bundle, device="cpu").mask(photo, prompts, **PLAIN)
    runs.clear()
    monkeypatch.setitem(DEVICES, "cpu", replace(DEVICES["cpu"], batches_boxes=True))
    together = automask.load(bundle, device="cpu", prove=False).mask(photo, prompts, **PLAIN)
    assert runs["boxes"] == 16
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert [a.score for a in one.instances] == pytest.approx([b.score for b in other.instances], abs=1e-6)


def test_a_cache_that_is_too_small_is_reported_and_holds_its_bound(
    bundle: Path, photo: Pixels, runs: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        segmenter = automask.load(bundle, device="cpu", cache_bytes=3000, prove=False)
    assert "the encoding of a picture by colours takes 0 MB, the cache holds 0 MB" in caplog.text
    expected = automask.load(bundle, device="cpu").mask(photo, "red", **PLAIN)
    runs.clear()
    for _ in range(2):
        np.testing.assert_array_equal(segmenter.mask(photo, "red", **PLAIN).mask, expected.mask)
    assert runs["fpn_0"] == 2
    assert segmenter.cache_info().bytes <= 3000


def test_no_cache_is_no_warning(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    automask.load(bundle, device="cpu", cache_bytes=0, prove=False)
    assert not caplog.records


def test_nothing_found(segmenter: automask.Segmenter, photo: Pixels) -> None:
    result = segmenter.mask(photo, "green")
    assert (result.is_empty, result.instances, result.labels) == (True, (), ("green",))
    with pytest.raises(EmptyMaskError):
        segmenter.mask(photo, "green", stop_on_empty_mask=True)


def test_instances_are_kept_and_dropped(segmenter: automask.Segmenter, photo: Pixels) -> None:
    red, blue = segmenter.mask(photo, BOTH, **PLAIN).instances
    np.testing.assert_array_equal(segmenter.mask(photo, BOTH, drop=[0], **PLAIN).mask, blue.mask)
    np.testing.assert_array_equal(segmenter.mask(photo, BOTH, keep=[0], **PLAIN).mask, red.mask)


def test_a_box_is_an_example(segmenter: automask.Segmenter, photo: Pixels) -> None:
    box = (190, 40, 260, 160)
    result = segmenter.mask(photo, box=box, **PLAIN)
    np.testing.assert_array_equal(result.mask, segmenter.mask(photo, "blue", **PLAIN).mask)
    (found,) = result.instances
    assert (found.label, result.labels) == ("object", ())
    named = segmenter.mask(photo, "thing", box=box, **PLAIN)
    np.testing.assert_array_equal(named.mask, result.mask)
    assert [one.label for one in named.instances] == ["thing"]


def test_selections_that_the_model_cannot_use(segmenter: automask.Segmenter, photo: Pixels, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="takes a box, as an example, but no points"):
        segmenter.mask(photo, points=[(10, 10, 1)])
    with pytest.raises(ParameterError, match="be inside the image"):
        segmenter.mask(photo, box=(0, 0, 1000, 10))
    other = automask.load(colour_bundle(tmp_path / "plain", examples=False, proof=False), device="cpu")
    with pytest.raises(ParameterError, match="which has no graph 'exemplar_encoder'"):
        other.mask(photo, "red", box=(0, 0, 10, 10))


@pytest.mark.parametrize("edges", ["model", "fast", "fine"])
def test_edges_and_soft_alpha(segmenter: automask.Segmenter, photo: Pixels, edges: Any) -> None:
    result = segmenter.mask(photo, "red", edges=edges, alpha="soft", grow_mask=0)
    assert iou(result.mask, colour(photo, "red")) > 0.8


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (3000, 4000)])
def test_any_image_size(segmenter: automask.Segmenter, shape: tuple[int, int]) -> None:
    picture = np.broadcast_to(np.array((255, 0, 0), np.uint8), (*shape, 3)).copy()
    result = segmenter.mask(picture, "red", **PLAIN)
    assert result.mask.shape == shape
    assert result.instances


def test_a_picture_without_pixels_is_refused(segmenter: automask.Segmenter) -> None:
    with pytest.raises(ImageError):
        segmenter.mask(np.zeros((0, 5, 3), np.uint8), "red")


def test_a_long_prompt_is_cut_and_says_so(segmenter: automask.Segmenter, photo: Pixels) -> None:
    result = segmenter.mask(photo, "red " + "very " * 100 + "old 🐈")
    assert result.dropped[0].endswith("old 🐈")
    assert f"cut after {LENGTH} tokens" in result.warnings[0]
    assert result.instances


def test_a_text_graph_of_one_length(tmp_path: Path, segmenter: automask.Segmenter, photo: Pixels) -> None:
    padded = automask.load(colour_bundle(tmp_path / "padded", pads=True, proof=False), device="cpu")
    for prompt in ("red", "the blue thing, and a red one"):
        one, other = (loaded.mask(photo, prompt, **PLAIN) for loaded in (segmenter, padded))
        np.testing.assert_array_equal(one.mask, other.mask)
        assert [a.score for a in one.instances] == [b.score for b in other.instances]


def test_the_bundle_is_proven_and_listed(bundle: Path, segmenter: automask.Segmenter) -> None:
    assert segmenter.standing == "proven"
    assert "a box" in run_text("prove", "--model", bundle).stdout
    shown = run_text("models", bundle).stdout
    assert "family      concept" in shown
    assert "licence     SAM License: with conditions" in shown


def test_a_bundle_with_other_outputs_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "copy")
    path = tmp_path / "copy" / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["graphs"]["detector"]["outputs"]["presence"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="'detector' must have the output 'presence'"):
        automask.load(tmp_path / "copy", device="cpu")
