"""Boxes, points and picked instances: what they mask, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

import automask
from automask import ParameterError, Parameters, Query
from automask.bundle import MANIFEST, sha256
from automask.instance import Instance
from automask.lookup import find_bundle
from automask.selection import MAX_POINTS, Selection

Pixels = NDArray[np.uint8]
SPOON = (448, 250, 530, 325)  # around the bowl of the spoon, right of the cup
IN_CUP = (300, 180)
FAR = (590, 20)  # on the table, far from the cup


@pytest.fixture
def shapes() -> Pixels:
    """A white disc and a white square on black."""
    photo = np.zeros((300, 400, 3), np.uint8)
    y, x = np.mgrid[:300, :400]
    photo[(x - 100) ** 2 + (y - 150) ** 2 < 60**2] = 255
    photo[100:200, 250:350] = 255
    return photo


def disc() -> NDArray[np.bool_]:
    y, x = np.mgrid[:300, :400]
    return np.asarray((x - 100) ** 2 + (y - 150) ** 2 < 60**2)


def square() -> NDArray[np.bool_]:
    inside = np.zeros((300, 400), bool)
    inside[100:200, 250:350] = True
    return inside


def iou(mask: Pixels, truth: NDArray[np.bool_]) -> float:
    return float(((mask > 0) & truth).sum() / ((mask > 0) | truth).sum())


def test_a_box_alone_masks_its_object(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    result = segmenter.mask(shapes, box=(36, 86, 164, 214), grow_mask=0)
    assert iou(result.mask, disc()) > 0.9
    (found,) = result.instances
    assert (found.label, found.box) == ("object", (36, 86, 164, 214))
    assert 0.5 < found.score <= 1
    assert (result.prompt, result.labels, result.is_empty) == ("", (), False)
    assert "detect" not in result.timings


def test_a_point_alone_masks_its_object(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    result = segmenter.mask(shapes, points=[(300, 150, 1)], grow_mask=0)
    assert iou(result.mask, square()) > 0.9
    (found,) = result.instances
    assert np.abs(np.array(found.box) - (250, 100, 350, 200)).max() < 8


def test_points_and_a_box_mean_one_object(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    both = segmenter.mask(shapes, points=[(100, 150, 1), (300, 150, 1)], grow_mask=0)
    assert iou(both.mask, disc() | square()) > 0.8
    (one,) = segmenter.mask(shapes, box=(30, 80, 360, 220), points=[(100, 150, 1), (300, 150, 0)]).instances
    assert iou(one.mask, disc()) > 0.8


def test_numbers_of_any_type_are_taken(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    plain = segmenter.mask(shapes, points=[(300, 150, 1)])
    typed = segmenter.mask(shapes, points=np.array([[300, 150, 1]]))  # type: ignore[call-overload]
    assert np.array_equal(plain.mask, typed.mask)


def test_a_negative_point_takes_away_from_the_prompt_s_object(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    whole = segmenter.mask(coffee, "cup", grow_mask=0)
    less = segmenter.mask(coffee, "cup", points=[(*IN_CUP, 0)], grow_mask=0)
    assert whole.mask[IN_CUP[::-1]] == 255
    assert less.mask[IN_CUP[::-1]] == 0
    assert 0.3 < (less.mask > 0).sum() / (whole.mask > 0).sum() < 0.9
    assert [(one.label, one.score, one.box) for one in less.instances] == [
        (one.label, one.score, one.box) for one in whole.instances
    ]
    assert less.labels == ("cup",)


def test_a_closer_view_is_drawn_with_the_points(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    less = segmenter.mask(coffee, "cup", points=[(*IN_CUP, 0)], grow_mask=0, edges="fine")
    assert less.mask[IN_CUP[::-1]] == 0
    added = segmenter.mask(coffee, points=[(*IN_CUP, 1)], grow_mask=0, edges="fine")
    assert added.mask[IN_CUP[::-1]] == 255


def test_a_near_positive_point_enlarges_the_nearest_object(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    (cup,) = segmenter.mask(coffee, "cup").instances
    at = (cup.box[2] + 60, 250)
    (more,) = segmenter.mask(coffee, "cup", points=[(*at, 1)]).instances
    assert more.label == "cup"
    assert more.box == (*cup.box[:2], at[0], cup.box[3])


def test_far_positive_points_add_one_object(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    cup, added = segmenter.mask(coffee, "cup", points=[(*FAR, 1), (580, 380, 1)]).instances
    assert (cup, added.label) == (segmenter.mask(coffee, "cup").instances[0], "object")
    alone = segmenter.mask(coffee, points=[(*FAR, 1), (580, 380, 1)]).instances
    assert alone == (added,)


def test_points_add_an_object_where_the_prompt_finds_nothing(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    assert segmenter.mask(shapes, "dog").is_empty
    result = segmenter.mask(shapes, "dog", points=[(300, 150, 1)], grow_mask=0)
    assert iou(result.mask, square()) > 0.9
    assert segmenter.mask(shapes, "dog", points=[(300, 150, 0)]).is_empty


def test_a_box_replaces_the_box_of_its_instance_or_adds_an_object(
    segmenter: automask.Segmenter, coffee: Pixels
) -> None:
    (cup,) = segmenter.mask(coffee, "cup").instances
    around = (180.0, 30.0, 400.0, 300.0)
    (corrected,) = segmenter.mask(coffee, "cup", box=around).instances
    assert (corrected.label, corrected.score, corrected.box) == ("cup", cup.score, around)
    first, added = segmenter.mask(coffee, "cup", box=SPOON).instances
    assert (first, added.label, added.box) == (cup, "object", SPOON)


def test_keep_and_drop_pick_instances_by_index(segmenter: automask.Segmenter, astronaut: Pixels) -> None:
    everything = segmenter.mask(astronaut, "everyone and all chairs and cups", threshold=0.02).instances
    count = len(everything)
    assert count > 3

    def picked(**selected: Any) -> tuple[Instance, ...]:
        found: automask.Result = segmenter.mask(
            astronaut, "everyone and all chairs and cups", threshold=0.02, **selected
        )
        return found.instances

    assert picked(keep=[2, 0]) == (everything[0], everything[2])
    assert picked(drop=[1]) == (everything[0], *everything[2:])
    assert picked(keep=[0, 1], drop=[1]) == (everything[0],)
    assert picked(drop=range(count)) == ()


def test_growing_excluding_and_inverting_come_after(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    box = (36, 86, 164, 214)
    plain = segmenter.mask(shapes, box=box, grow_mask=0).mask
    assert np.array_equal(
        segmenter.mask(shapes, box=box, grow_mask=7, invert_mask=True).mask,
        255 - automask.postprocess.grow(plain, 7),
    )


def test_queries_of_one_batch_do_not_change_each_other(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    plain = Parameters(grow_mask=0)
    queries = [
        Query(("cup",), (), plain),
        Query(("cup",), ("spoon",), plain, Selection(points=((*IN_CUP, 0),))),
        Query((), ("cup",), plain, Selection(box=SPOON)),
        Query(("cup",), (), plain, Selection(drop=(9,))),
        Query(("cup",), (), plain, Selection(box=(0, 0, 601, 10))),
        Query(("dining table", "cup"), (), plain),
    ]
    together = segmenter.answer(coffee, queries)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = segmenter.answer(coffee, [query])
        if isinstance(answer, ParameterError):
            assert str(alone) == str(answer)
        else:
            assert not isinstance(answer, Exception)
            assert not isinstance(alone, Exception)
            masks = [[one.mask for one in results if isinstance(one, automask.Result)] for results in (answer, alone)]
            assert len(masks[0]) == len(query.prompts or ("",))
            assert all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))
    assert [isinstance(one, ParameterError) for one in together] == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("prompt", "selected", "message"),
    [
        ("cup", {"box": (10, 10, 10, 20)}, "box must have left < right and top < bottom, got (10.0, 10.0, 10.0, 20.0)"),
        ("cup", {"box": (0, 0, 601, 400)}, "box must be inside the image, which is 600×400"),
        ("cup", {"box": (-1, 0, 60, 40)}, "box must be inside the image, which is 600×400"),
        ("cup", {"box": (1, 2, 3)}, "box must be four numbers: left, top, right, bottom, got (1, 2, 3)"),
        ("cup", {"box": "1,2,3,4"}, "box must be a sequence, got '1,2,3,4'"),
        ("cup", {"box": (0, 0, float("nan"), 9)}, "box must be four numbers: left, top, right, bottom, got "),
        ("cup", {"box": (0, 0, 10**400, 9)}, "box must be four numbers: left, top, right, bottom, got "),
        ("cup", {"points": [(1, 1, 1), (1, 401, 0)]}, "points[1] must be inside the image, which is 600×400"),
        ("cup", {"points": [(1, 1, 2)]}, "points[0] must have the label 1 (part of the object) or 0 "),
        ("cup", {"points": [(1, 1)]}, "points[0] must be three numbers: x, y and a label, 1 or 0, got (1, 1)"),
        ("cup", {"points": [("1", 1, 1)]}, "points[0] must have numbers as x and y, got ('1', 1, 1)"),
        ("cup", {"points": [(1, 1, 1)] * (MAX_POINTS + 1)}, "points must hold at most 64 points, got 65"),
        ("cup", {"keep": [0, 1]}, "keep must hold indices below 1, because the prompt has 1 instances, got 1"),
        ("dog", {"drop": [0]}, "drop must hold indices below 0, because nothing was found for the prompt, got 0"),
        ("cup", {"drop": [-1]}, "drop must hold indices of instances: integers, 0 or more, got -1"),
        ("cup", {"drop": [True]}, "drop must hold indices of instances: integers, 0 or more, got True"),
        ("cup", {"keep": 0}, "keep must be a sequence, got 0"),
        (["cup", "dog"], {"box": SPOON}, "prompt must be one prompt where box is used, got ('cup', 'dog')"),
        (None, {}, "prompt must name at least one thing, got ()"),
        (None, {"drop": [0]}, "prompt must name something: drop pick among its instances, got ()"),
        (None, {"points": [(1, 1, 0)]}, "points must hold a point with label 1 where there is neither "),
    ],
)
def test_what_is_wrong_is_named(
    segmenter: automask.Segmenter, coffee: Pixels, prompt: Any, selected: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        segmenter.mask(coffee, prompt, **selected)
    assert str(caught.value).startswith(message)


def test_many_images_share_a_selection(segmenter: automask.Segmenter, shapes: Pixels) -> None:
    first, second = segmenter.mask_many([shapes, shapes], box=(36, 86, 164, 214))
    assert np.array_equal(first.mask, second.mask)
    with pytest.raises(ParameterError, match="prompt must name at least one thing"):
        segmenter.mask_many([shapes])


def test_a_point_on_a_cached_photo_costs_the_decoder_alone(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    segmenter.mask(coffee, points=[(*IN_CUP, 1)])
    before = segmenter.cache_info()
    segmenter.mask(coffee, points=[(*FAR, 1)])
    assert segmenter.cache_info().misses == before.misses


@pytest.fixture(scope="module")
def old_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with the decoder's inputs of older bundles: `boxes` instead of points and labels."""
    folder = Path(shutil.copytree(find_bundle("default").folder, tmp_path_factory.mktemp("old") / "bundle"))
    manifest = json.loads((folder / MANIFEST).read_text())
    decoder = manifest["graphs"]["mask_decoder"]
    for file in decoder["variants"].values():
        _take_boxes(folder / file)
        manifest["files"][file] = sha256(folder / file)
    decoder["inputs"] = {
        "image_embedding": decoder["inputs"]["image_embedding"],
        "boxes": {"dtype": "float32", "shape": ["prompts", 4]},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def _take_boxes(path: Path) -> None:
    """Put nodes into a decoder that make points and labels of boxes."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    nodes = [
        helper.make_node("Reshape", ["boxes", "corner_shape"], ["points"]),
        helper.make_node("Shape", ["boxes"], ["box_count"], end=1),
        helper.make_node("Concat", ["box_count", "two"], ["labels_shape"], axis=0),
        helper.make_node("Expand", ["corner_kinds", "labels_shape"], ["labels"]),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    for name, shape, values in (
        ("corner_shape", [3], [-1, 2, 2]),
        ("two", [1], [2]),
        ("corner_kinds", [1, 2], [2, 3]),
    ):
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, shape, values))
    kept = [one for one in graph.input if one.name == "image_embedding"]
    del graph.input[:]
    graph.input.extend([*kept, helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, ["prompts", 4])])
    path.write_bytes(model.SerializeToString())


def test_a_bundle_whose_decoder_takes_boxes_alone_still_works(
    old_bundle: Path, segmenter: automask.Segmenter, coffee: Pixels
) -> None:
    old = automask.load(old_bundle, device="cpu", precision="int8")
    for prompt, box in (("cup", None), (None, SPOON), ("cup", SPOON)):
        assert np.array_equal(old.mask(coffee, prompt, box=box).mask, segmenter.mask(coffee, prompt, box=box).mask)
    assert old.mask(coffee, "cup", drop=[0]).is_empty
    with pytest.raises(ParameterError, match="points must be empty for 'default', whose mask decoder takes boxes only"):
        old.mask(coffee, "cup", points=[(*IN_CUP, 1)])
