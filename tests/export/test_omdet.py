"""OmDet-Turbo from a checkpoint to masks, compared with transformers' own processor parts and post-processing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from transformers import CLIPTokenizerFast, DetrImageProcessor, OmDetTurboForObjectDetection

import automask
from automask.errors import BundleError, MissingDependencyError, ParameterError
from automask.export.architectures.omdet.model import OmDetModel
from automask.export.checkpoint import CheckpointError, find
from automask.parameters import Query
from automask.session import Session
from support.finder_tests import FinderTests, coffee, run_command
from support.omdet_checkpoints import SIZE, checkpoint

Array = NDArray[Any]

PHRASES = ["cup", "the spoon", "cat on a hat", "a hat", "left cup", "tin", "the big red cat of the neighbour"]
RAW = 0.3  # transformers' default threshold, which is the API's default of 0.2


@dataclass(frozen=True)
class Exported:
    """A checkpoint and its bundle in fp32 and int8."""

    model: OmDetTurboForObjectDetection
    source: Path
    folder: Path

    def forward(self, image: Array, phrases: Sequence[str]) -> Any:
        tokenizer = CLIPTokenizerFast.from_pretrained(self.source)
        options: dict[str, Any] = {
            "padding": "max_length", "truncation": True, "max_length": 77, "return_tensors": "pt",
        }  # fmt: skip
        classes = tokenizer(list(phrases), **options)
        task = tokenizer([f"Detect {', '.join(phrases)}."], **options)
        pixels = DetrImageProcessor.from_pretrained(self.source)(image, return_tensors="pt").pixel_values
        with torch.inference_mode():
            return self.model(
                pixel_values=pixels,
                classes_input_ids=classes["input_ids"],
                classes_attention_mask=classes["attention_mask"],
                tasks_input_ids=task["input_ids"],
                tasks_attention_mask=task["attention_mask"],
                classes_structure=torch.tensor([len(phrases)]),
            )

    def expected(self, image: Array, phrases: Sequence[str]) -> list[tuple[str, float, tuple[float, ...]]]:
        """What transformers finds with its default thresholds: label, score and box, best first.

        OmDetTurboProcessor itself needs torchvision; these are the functions it calls, with OpenCV's suppression.
        """
        outputs = self.forward(image, phrases)
        processing: Any = import_module("transformers.models.omdet_turbo.processing_omdet_turbo")
        scores, labels = processing.compute_score(outputs.decoder_class_logits)
        with patch.object(processing, "batched_nms", suppress, create=True):
            boxes, best, indices = processing._post_process_boxes_for_image(
                outputs.decoder_coord_logits[0],
                scores[0],
                labels,
                len(phrases),
                image.shape[:2],
                RAW,
                0.5,
                scores.numel(),
            )
        found = zip(indices.tolist(), best.tolist(), boxes.tolist(), strict=True)
        return [(phrases[index], score, tuple(box)) for index, score, box in found]


def suppress(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou: float) -> torch.Tensor:
    sized = torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), dim=1)
    kept = cv2.dnn.NMSBoxesBatched(sized.tolist(), scores.tolist(), labels.tolist(), 0.0, iou)
    order = np.array(kept, int).ravel()
    return torch.from_numpy(order[np.argsort(-scores.numpy()[order], kind="stable")])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("omdet")
    model = checkpoint(folder / "tiny")
    run_command(folder / "tiny", folder / "bundle", "--precision", "fp32", "--precision", "int8")
    return Exported(model, folder / "tiny", folder / "bundle")


@pytest.fixture(scope="module")
def segmenter(exported: Exported) -> automask.Segmenter:
    return automask.load(exported.folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photo() -> Array:
    return coffee()


class TestOmDet(FinderTests):
    pass


def check_same(result: automask.Result, expected: Sequence[tuple[str, float, tuple[float, ...]]]) -> None:
    """Every object is one of transformers'; those left out are shown by a better box of another phrase."""
    found: list[tuple[str, float, tuple[float, ...]]] = [(one.label, one.score, one.box) for one in result.instances]
    assert found
    left_out = list(expected)
    for label, score, box in found:
        same = [one for one in left_out if one[0] == label and np.allclose(one[2], box, atol=0.01)]
        assert same, (label, score, box)
        np.testing.assert_allclose(score, np.interp(same[0][1], [0, RAW, 1], [0, 0.2, 1]), atol=1e-5)
        left_out.remove(same[0])
    for label, _, box in left_out:
        assert max(iou(box, other) for name, _, other in found if name != label) > 0.7


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.clip(sides, 0, None).prod())
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("step", [1, -1])
def test_objects_are_those_of_transformers(
    exported: Exported, segmenter: automask.Segmenter, photo: Array, count: int, step: int
) -> None:
    phrases = PHRASES[:count][::step]
    result = segmenter.mask(photo, ", ".join(phrases), grow_mask=0)
    check_same(result, exported.expected(photo, phrases))
    assert result.labels == tuple(phrases)
    assert 0 < np.count_nonzero(result.mask) < result.mask.size


@pytest.mark.parametrize("shape", [(60, 40), (33, 400), (700, 200)])
def test_images_of_any_proportions(exported: Exported, segmenter: automask.Segmenter, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    check_same(segmenter.mask(image, "cup, a hat"), exported.expected(image, ["cup", "a hat"]))


def test_prompts_of_one_call_are_the_classes_of_one_pass(
    exported: Exported, segmenter: automask.Segmenter, photo: Array
) -> None:
    results = segmenter.mask(photo, ["cup", "a hat, tin"], exclude="the spoon")
    together = exported.expected(photo, ["cup", "a hat", "tin", "the spoon"])
    for result, phrases in zip(results, (["cup"], ["a hat", "tin"]), strict=True):
        check_same(result, [one for one in together if one[0] in phrases])


def test_queries_that_are_answered_together_do_not_change_each_other(
    segmenter: automask.Segmenter, photo: Array
) -> None:
    queries = [Query.build("cup", (), {}), Query.build(["a hat", "tin"], "the spoon", {})]
    together = segmenter.answer(photo, queries)
    alone = [segmenter.answer(photo, [query])[0] for query in queries]
    for one, other in zip(together, alone, strict=True):
        assert not isinstance(one, Exception)
        assert not isinstance(other, Exception)
        for found, expected in zip(one, other, strict=True):
            assert isinstance(found, automask.Result)
            assert isinstance(expected, automask.Result)
            assert [(a.label, a.score, a.box) for a in found.instances] == [
                (b.label, b.score, b.box) for b in expected.instances
            ]


def test_many_phrases_whose_task_is_too_long(segmenter: automask.Segmenter, exported: Exported, photo: Array) -> None:
    phrases = [f"{colour} cup {number}" for colour in ("red", "blue", "green") for number in range(1, 9)]
    result = segmenter.mask(photo, ", ".join(phrases))
    assert result.labels == tuple(phrases)
    assert result.dropped == ()
    check_same(result, exported.expected(photo, phrases))


def test_a_prompt_of_a_thousand_words_is_cut_and_says_so(segmenter: automask.Segmenter, photo: Array) -> None:
    result = segmenter.mask(photo, "the cup on the left in a " + "very " * 1000 + "old hat", threshold=0)
    assert result.dropped[0].endswith("old hat")
    assert any("cut after 77 tokens" in warning for warning in result.warnings)


@pytest.mark.parametrize("prompt", ["🐈", "قبعة حمراء"])
def test_any_script(segmenter: automask.Segmenter, photo: Array, prompt: str) -> None:
    assert segmenter.mask(photo, prompt, threshold=0).labels == (prompt,)


def test_int8_keeps_the_heads_in_float32(exported: Exported) -> None:
    nodes = onnx.load(exported.folder / "detector.int8.onnx").graph.node
    heads = ("/first_class_head/", "/last_class_head/", "/box_heads.", "/layers.0/cross_attn/sampling_offsets/")
    for head in heads:
        assert {one.op_type for one in nodes if one.name.startswith(head) and "MatMul" in one.op_type} == {"MatMul"}
    assert any(one.op_type == "MatMulInteger" for one in nodes)


def test_no_graph_holds_infinity(exported: Exported) -> None:
    for path in exported.folder.glob("detector*.onnx"):
        for tensor in onnx.load(path).graph.initializer:
            assert np.isfinite(onnx.numpy_helper.to_array(tensor).astype(np.float64)).all(), (path.name, tensor.name)


def test_a_learned_first_query(photo: Array, tmp_path: Path) -> None:
    model = checkpoint(tmp_path, learn_initial_query=True)
    parts = OmDetModel.load(find(str(tmp_path), revision=None, supported=["omdet-turbo"]), None).submodels
    cells = parts["detector_encoder"].run({"pixel_values": pixel_values(tmp_path, photo)})
    classes, task = (parts["text_encoder"].run({"input_ids": ids(tmp_path, text)}) for text in ("cup", "Detect cup."))
    found = parts["detector"].run({**cells, "class_embeds": classes["class_embeds"], "task": task["features"][0]})
    expected = Exported(model, tmp_path, tmp_path).forward(photo, ["cup"])
    np.testing.assert_allclose(found["boxes"], expected.decoder_coord_logits[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(found["logits"], expected.decoder_class_logits[0].numpy(), atol=1e-4)


def pixel_values(source: Path, image: Array) -> Array:
    pixels: Array = DetrImageProcessor.from_pretrained(source)(image, return_tensors="np").pixel_values
    return pixels


def ids(source: Path, text: str) -> Array:
    return np.array([CLIPTokenizerFast.from_pretrained(source)(text).input_ids], np.int64)


def test_another_image_size_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="be 128 or left out"):
        run_command(exported.source, tmp_path / "bundle", "--image-size", "160")
    assert not (tmp_path / "bundle").exists()


def test_a_backbone_of_timm_needs_timm(exported: Exported, tmp_path: Path) -> None:
    shutil.copytree(exported.source, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"use_timm_backbone": True, "backbone": "swin_tiny_patch4_window7_224", "backbone_config": None}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(MissingDependencyError, match="pip install timm"):
        run_command(tmp_path / "copy", tmp_path / "bundle")


def test_a_config_that_transformers_cannot_run(exported: Exported, tmp_path: Path) -> None:
    shutil.copytree(exported.source, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"class_embed_dim": 32}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="class_embed_dim = decoder_hidden_dim = 32"):
        run_command(tmp_path / "copy", tmp_path / "bundle")


def test_a_bundle_with_other_outputs_is_refused_by_name(exported: Exported, tmp_path: Path) -> None:
    shutil.copytree(exported.folder, tmp_path / "copy")
    manifest = tmp_path / "copy" / "automask.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"anchors"', '"boxes_0"'), encoding="utf-8")
    with pytest.raises(BundleError, match="'detector_encoder' must have the output 'anchors'"):
        automask.load(tmp_path / "copy", device="cpu")


def test_the_graphs_give_transformers_own_queries(exported: Exported, photo: Array) -> None:
    roles = ("text_encoder", "detector_encoder", "detector")
    text, encoder, detector = (Session(exported.folder / f"{role}.onnx", "cpu") for role in roles)
    classes, _ = text.run(input_ids=ids(exported.source, "cup"))
    _, task = text.run(input_ids=ids(exported.source, "Detect cup."))
    outputs = encoder.run(pixel_values=pixel_values(exported.source, photo))
    cells = dict(zip(encoder.outputs, outputs, strict=True))
    boxes, logits = detector.run(**cells, class_embeds=classes, task=task[0])
    expected = exported.forward(photo, ["cup"])
    order, other = (np.argsort(one[:, 0]) for one in (logits, expected.decoder_class_logits[0].numpy()))
    np.testing.assert_allclose(boxes[order], expected.decoder_coord_logits[0].numpy()[other], atol=1e-5)
    np.testing.assert_allclose(logits[order], expected.decoder_class_logits[0].numpy()[other], atol=1e-4)


@pytest.mark.usefixtures("own_memory")
def test_features_stay_on_a_device_with_its_own_memory(exported: Exported, photo: Array) -> None:
    devices: Any = ("cpu", "new")
    here, there = (automask.load(exported.folder, device=name, precision="fp32", prove=False) for name in devices)
    image = np.ascontiguousarray(photo[:SIZE, :SIZE])  # as the model takes it
    expected, result = (one.mask(image, "red cup", threshold=0) for one in (here, there))
    np.testing.assert_array_equal(result.mask, expected.mask)
    assert there.cache_info().gpu_bytes > 0
