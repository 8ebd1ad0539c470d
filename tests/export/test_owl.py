"""OWL-ViT and OWLv2 from a checkpoint to masks, compared with transformers' own processor and post-processing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from transformers import Owlv2Processor, OwlViTProcessor

import automask
from automask.bundle import open_bundle
from automask.errors import BundleError, ParameterError
from automask.export.checkpoint import CheckpointError
from automask.preprocess import Resize
from automask.session import Session
from support.finder_tests import FinderTests, coffee, run_command
from support.owl_checkpoints import KINDS, checkpoint

Array = NDArray[Any]

PHRASES = ["cup", "the spoon", "cat on cup", "a hat", "left cup", "tin", "the cat"]
RAW = 0.1  # transformers' default threshold, which is the API's default of 0.2


@dataclass(frozen=True)
class Exported:
    """A checkpoint and its bundle in fp32 and int8."""

    model: Any
    source: Path
    folder: Path
    output: str

    @property
    def processor(self) -> Any:
        kind = Owlv2Processor if self.model.config.model_type == "owlv2" else OwlViTProcessor
        return kind.from_pretrained(self.source)

    def expected(self, image: Array, phrases: Sequence[str], threshold: float = RAW) -> dict[str, Any]:
        """What transformers finds: each box above the threshold with its best phrase, best first."""
        texts = [f"a photo of {phrase}" if _has_article(phrase) else f"a photo of a {phrase}" for phrase in phrases]
        inputs = self.processor(text=[texts], images=image, return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            outputs = self.model(**inputs)
        (found,) = self.processor.post_process_grounded_object_detection(
            outputs, threshold=threshold, target_sizes=[image.shape[:2]], text_labels=[list(phrases)]
        )
        order = found["scores"].argsort(descending=True)
        height, width = image.shape[:2]
        boxes = np.clip(found["boxes"][order].numpy(), 0, [width, height] * 2)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return {
            "boxes": boxes[inside],
            "scores": found["scores"][order].numpy()[inside],
            "labels": [found["text_labels"][index] for index in order[torch.from_numpy(inside)].tolist()],
        }


def _has_article(phrase: str) -> bool:
    return phrase.split(maxsplit=1)[0] in {"a", "the"}


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    model = checkpoint(folder / "tiny", request.param)
    output = run_command(folder / "tiny", folder / "bundle", "--precision", "fp32", "--precision", "int8")
    return Exported(model, folder / "tiny", folder / "bundle", output)


@pytest.fixture(scope="module")
def segmenter(exported: Exported) -> automask.Segmenter:
    return automask.load(exported.folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photo() -> Array:
    return coffee()


class TestOwl(FinderTests):
    pass


def check_same(result: automask.Result, expected: dict[str, Any]) -> None:
    found = result.instances
    assert len(found) == len(expected["scores"]) > 0
    np.testing.assert_allclose([one.box for one in found], expected["boxes"], atol=0.01)
    np.testing.assert_allclose([one.score for one in found], calibrated(expected["scores"]), atol=1e-5)
    assert [one.label for one in found] == expected["labels"]


def calibrated(scores: Array) -> Array:
    return np.interp(scores, [0, RAW, 1], [0, 0.2, 1])


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


@pytest.mark.parametrize("shape", [(60, 40), (150, 400), (700, 200)])
def test_images_of_any_proportions(exported: Exported, segmenter: automask.Segmenter, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    check_same(segmenter.mask(image, "cup, a hat"), exported.expected(image, ["cup", "a hat"]))


def test_prompts_of_one_call_do_not_change_each_other(segmenter: automask.Segmenter, photo: Array) -> None:
    prompts = ["cup, a hat", "the spoon", "cat on cup and tin"]
    together = segmenter.mask(photo, prompts, exclude="a hat")
    for prompt, result in zip(prompts, together, strict=True):
        alone = segmenter.mask(photo, prompt, exclude=["a hat"])
        assert [one.box for one in result.instances] == [one.box for one in alone.instances]
        assert np.array_equal(result.mask, alone.mask)
    excluded = segmenter.mask(photo, "a hat", grow_mask=0)
    assert excluded.mask.any()
    assert not (together[1].mask & excluded.mask).any()


def test_threshold_zero_draws_the_best_and_says_so(segmenter: automask.Segmenter, photo: Array) -> None:
    result = segmenter.mask(np.ascontiguousarray(photo[::2, ::2]), "cup", threshold=0)
    assert 10 <= len(result.instances) <= 16  # patches of the tiny network


@pytest.mark.parametrize("prompt", ["🐈", "قبعة حمراء", "ﬁn"])
def test_any_script(segmenter: automask.Segmenter, photo: Array, prompt: str) -> None:
    assert segmenter.mask(photo, prompt, threshold=0).instances


def test_a_prompt_of_a_thousand_words_is_cut_and_says_so(segmenter: automask.Segmenter, photo: Array) -> None:
    result = segmenter.mask(photo, "the cup on the left in a " + "very " * 1000 + "old hat", threshold=0)
    assert result.dropped[0].endswith("old hat")
    assert any("cut after 16 tokens" in warning for warning in result.warnings)
    assert result.instances


def test_a_phrase_too_long_for_the_sentence_is_read_alone(
    exported: Exported, segmenter: automask.Segmenter, photo: Array
) -> None:
    phrase = "cup on the left on the cat"
    result = segmenter.mask(photo, phrase)
    assert result.dropped == ()
    tokens = exported.processor.tokenizer([phrase], padding="max_length", return_tensors="pt")
    image = exported.processor.image_processor(photo, return_tensors="pt")
    with torch.inference_mode():
        logits = exported.model(**tokens, **image).logits[0, :, 0]
    best = float(logits.sigmoid().max())
    np.testing.assert_allclose(result.instances[0].score, calibrated(np.array(best)), atol=1e-5)


def test_int8_keeps_the_box_head_in_float32(exported: Exported) -> None:
    nodes = onnx.load(exported.folder / "detector.int8.onnx").graph.node
    heads = [node.op_type for node in nodes if node.name.startswith("/box_head/") and "MatMul" in node.op_type]
    assert heads == ["MatMul"] * 3
    assert any(node.op_type == "MatMulInteger" for node in nodes)


def test_the_objectness_of_owlv2_is_kept(exported: Exported, photo: Array) -> None:
    outputs = open_bundle(exported.folder).graphs["detector"].outputs
    if exported.model.config.model_type == "owlvit":
        assert "objectness" not in outputs
        return
    session = Session(exported.folder / "detector.onnx", "cpu")
    inputs = exported.processor(text=["cup"], images=photo, return_tensors="pt")
    found = dict(zip(session.outputs, session.run(pixel_values=inputs["pixel_values"].numpy()), strict=True))
    with torch.inference_mode():
        expected = exported.model(**inputs).objectness_logits.numpy()
    np.testing.assert_allclose(found["objectness"], expected, atol=1e-4)


def test_several_images_in_one_batch(exported: Exported) -> None:
    session = Session(exported.folder / "detector.onnx", "cpu")
    pixels = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    for index, (together, alone) in enumerate(
        zip(session.run(pixel_values=pixels), session.run(pixel_values=pixels[1:2]), strict=True)
    ):
        np.testing.assert_allclose(together[1:2], alone, atol=1e-4, err_msg=session.outputs[index])


def test_the_card_says_what_a_user_must_know(exported: Exported) -> None:
    card = (exported.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "a photo of a {}" in card
    assert ("objectness" in card) == (exported.model.config.model_type == "owlv2")
    assert "share that both found" in card


def test_another_image_size(exported: Exported, photo: Array, tmp_path: Path) -> None:
    run_command(exported.source, tmp_path / "bundle", "--precision", "fp32", "--image-size", "96")
    result = automask.load(tmp_path / "bundle", device="cpu").mask(photo, "cup", threshold=0)
    assert open_bundle(tmp_path / "bundle").image["detector"]["size"] == 96
    assert len(result.instances) > 16


def test_an_image_size_that_is_no_multiple_of_the_patch(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="multiple of the patch size, 16"):
        run_command(exported.source, tmp_path / "bundle", "--image-size", "100")
    assert not (tmp_path / "bundle").exists()


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda f: remove(f, "preprocessor_config.json"), "no preprocessor_config.json", id="image"),
        pytest.param(lambda f: (f / "model.safetensors").write_bytes(b"{"), "cannot be read", id="weights"),
        pytest.param(lambda f: remove(f, "tokenizer.json", "vocab.json"), "no tokenizer", id="tokenizer"),
    ],
)
def test_incomplete_checkpoints(exported: Exported, tmp_path: Path, spoil: Any, message: str) -> None:
    shutil.copytree(exported.source, tmp_path / "copy")
    spoil(tmp_path / "copy")
    with pytest.raises(CheckpointError, match=message):
        run_command(tmp_path / "copy", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_with_other_outputs_is_refused_by_name(exported: Exported, tmp_path: Path) -> None:
    shutil.copytree(exported.folder, tmp_path / "copy")
    manifest = tmp_path / "copy" / "automask.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"class_embeds"', '"embeds"'), encoding="utf-8")
    with pytest.raises(BundleError, match="'detector' must have the output 'class_embeds'"):
        automask.load(tmp_path / "copy", device="cpu")


@pytest.mark.parametrize(
    ("size", "shape"),
    [(64, (90, 120)), (64, (40, 30)), (64, (64, 64)), (64, (7, 500)), (64, (300, 9)), (96, (700, 500))],
)
def test_padding_and_resizing_are_those_of_the_processor_of_owlv2(size: int, shape: tuple[int, int]) -> None:
    processor = KINDS["owlv2"][2](size={"height": size, "width": size})
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    mean, std = ([255 * value for value in values] for values in (processor.image_mean, processor.image_std))
    settings = {"size": size, "interpolation": "scikit_image", "mean": mean, "std": std, "padding": [127.5] * 3}
    expected = processor(image, return_tensors="np", input_data_format="channels_last").pixel_values
    np.testing.assert_allclose(Resize.read(settings).pad(image), expected, atol=1e-5)
