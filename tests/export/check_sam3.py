"""SAM 3 from a checkpoint to masks, compared with transformers' own processor; `make test-sam3` runs it.

It needs an environment of its own (transformers 5, no optimum), so its name keeps it out of `make test`.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data

from support.torchvision_ops import declare_operators

declare_operators()  # before transformers is imported

import torchvision.ops  # noqa: E402
import transformers as tf  # noqa: E402

import automask  # noqa: E402
from automask.cli import main  # noqa: E402
from automask.errors import ParameterError  # noqa: E402
from automask.export import memory  # noqa: E402
from automask.export.architectures.sam3.exemplars import roi_align, without_torchvision  # noqa: E402
from automask.export.checkpoint import ArchitectureError, CheckpointError  # noqa: E402
from automask.export.cli import export  # noqa: E402
from automask.export.memory import OutOfMemoryError  # noqa: E402
from automask.licences import LicenceError  # noqa: E402
from automask.publish import SpaceError  # noqa: E402
from automask.words.tokenizer import Tokenizer  # noqa: E402
from support.sam3_checkpoints import checkpoint, lite_checkpoint  # noqa: E402

Array = NDArray[Any]
PLAIN: dict[str, Any] = {"grow_mask": 0, "edges": "model"}
PHRASES = ["cup", "the spoon on the left", "cat", "something thin", "the big red cat of the neighbour's"]
RAW = 0.5  # the threshold of the model card, which is the API's default of 0.2


@dataclass(frozen=True)
class Exported:
    """A checkpoint and its bundle."""

    network: Any
    source: Path
    folder: Path
    output: str

    @property
    def processor(self) -> Any:
        """transformers' own processor, with the image size of the bundle."""
        images = tf.Sam3ImageProcessor.from_pretrained(self.folder)
        return tf.Sam3Processor(images, tf.CLIPTokenizerFast.from_pretrained(self.source))

    def expected(self, photo: Array, phrases: Sequence[str], **example: Any) -> tuple[list[dict[str, Array]], Any]:
        """What transformers finds of each phrase by itself, and its outputs for all of them together."""
        processor = self.processor
        sizes = [photo.shape[:2]] * len(phrases)
        inputs = processor(images=[photo] * len(phrases), text=list(phrases), return_tensors="pt", **example)
        wanted = {"pixel_values", "input_ids", "attention_mask", "input_boxes", "input_boxes_labels"}
        with torch.inference_mode(), without_torchvision(self.network):
            outputs = self.network(**{name: inputs[name] for name in inputs if name in wanted})
        found = processor.post_process_instance_segmentation(
            outputs, threshold=RAW, mask_threshold=0.5, target_sizes=sizes
        )
        return [{name: one[name].numpy() for name in one} for one in found], outputs

    @property
    def manifest(self) -> Mapping[str, Any]:
        """`automask.json`."""
        content: dict[str, Any] = json.loads((self.folder / "automask.json").read_text(encoding="utf-8"))
        return content


def run_export(source: Path, output: Path, *options: str) -> str:
    """Run the command; raise its error, or return its output."""
    done = CliRunner().invoke(export, [str(source), "--output", str(output), *options])
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No licence is accepted yet, and nothing was proven."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable)))
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("sam3")
    network = checkpoint(folder / "tiny")
    output = run_export(folder / "tiny", folder / "bundle", "--accept-licence", "--precision=fp32", "--precision=int8")
    return Exported(network, folder / "tiny", folder / "bundle", output)


@pytest.fixture(scope="module")
def segmenter(exported: Exported) -> automask.Segmenter:
    return automask.load(exported.folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photo() -> Array:
    return np.array(data.coffee(), np.uint8)


def iou(one: Array, other: Array) -> float:
    one, other = one > 0, other > 0
    return float((one & other).sum() / max((one | other).sum(), 1))


def check_same(result: automask.Result, expected: Mapping[str, Array]) -> None:
    """Every object is one of transformers', in the order of the scores.

    Pillow and torchvision resize a photo to values of which one in a hundred differs by 1, so that scores at the
    threshold may fall on either side.
    """
    height, width = result.mask.shape
    order = np.argsort(-expected["scores"], kind="stable")
    margin = 2e-3
    sure = int((expected["scores"] > RAW + margin).sum())
    assert sure <= len(result.instances) <= len(order) + 1
    assert sure
    sides = np.array([width, height] * 2)
    for found, at in zip(result.instances[:sure], order, strict=False):
        raw = np.interp(found.score, [0, 0.2, 1], [0, RAW, 1])
        assert raw == pytest.approx(expected["scores"][at], abs=margin)
        near = [i for i in order if abs(expected["scores"][i] - raw) <= 2 * margin]
        boxes = np.clip(expected["boxes"][near], 0, sides)
        same = near[int(np.abs(boxes - np.array(found.box)).max(axis=1).argmin())]
        np.testing.assert_allclose(found.box, np.clip(expected["boxes"][same], 0, sides), atol=0.5)
        assert iou(found.mask, expected["masks"][same]) > 0.99


@pytest.mark.parametrize("count", [1, 2, 5])
def test_instances_are_those_of_transformers(
    exported: Exported, segmenter: automask.Segmenter, photo: Array, count: int
) -> None:
    expected, outputs = exported.expected(photo, PHRASES[:count])
    results = segmenter.mask(photo, PHRASES[:count], **PLAIN)
    semantic = exported.processor.post_process_semantic_segmentation(outputs, target_sizes=[photo.shape[:2]] * count)
    for result, one, plane in zip(results, expected, semantic, strict=True):
        check_same(result, one)
        assert result.score_map is not None
        assert iou(result.score_map >= 0.2, plane.numpy()) > 0.99


@pytest.mark.parametrize("shape", [(60, 40), (33, 400), (700, 200)])
def test_images_of_any_proportions(exported: Exported, segmenter: automask.Segmenter, shape: tuple[int, int]) -> None:
    image = np.array(Image.fromarray(data.astronaut()).resize(shape[::-1]), np.uint8)
    (expected,), _ = exported.expected(image, ["cup"])
    check_same(segmenter.mask(image, "cup", **PLAIN), expected)


def test_texts_are_tokenized_as_by_the_processor(exported: Exported) -> None:
    tokenizer = Tokenizer(exported.folder / "tokenizer.json", 32)
    for text in [*PHRASES, "THE Cup", "naïve  café", "🐈", "猫", "visual"]:
        inputs = exported.processor(text=text, return_tensors="np")
        expected = inputs["input_ids"][0][inputs["attention_mask"][0] > 0]
        assert list(tokenizer.encode(text).ids) == expected.tolist()
    assert len(tokenizer.encode("very " * 100).ids) == 32


def test_an_example_is_that_of_transformers(exported: Exported, segmenter: automask.Segmenter, photo: Array) -> None:
    box = (200.0, 40.0, 420.0, 300.0)
    (alone,), _ = exported.expected(photo, ["visual"], input_boxes=[[list(box)]], input_boxes_labels=[[1]])
    check_same(segmenter.mask(photo, box=box, **PLAIN), alone)
    (named,), _ = exported.expected(photo, ["cup"], input_boxes=[[list(box)]], input_boxes_labels=[[1]])
    check_same(segmenter.mask(photo, "cup", box=box, **PLAIN), named)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
def test_roi_align_is_torchvisions() -> None:
    """Inside the picture; outside of it, torchvision's own two implementations differ."""
    features = torch.randn(2, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    boxes = [
        torch.tensor([[0, 0, 13, 9], [2.3, 1.1, 2.4, 8], [-0.5, -0.8, 5.5, 4], [9, 6, 13, 9]]).float(),
        torch.tensor([[1.5, 2.5, 12.9, 3.1]]),
    ]
    with torch.compiler.set_stance("force_eager"):
        expected = torchvision.ops.roi_align(features, boxes, 7)
    np.testing.assert_allclose(roi_align(features, boxes, 7).numpy(), expected.numpy(), atol=1e-5)


def test_int8_is_near_and_the_bundle_is_proven(exported: Exported, photo: Array) -> None:
    loaded = automask.load(exported.folder, device="cpu", precision="int8")
    assert loaded.standing == "proven"
    (expected,), _ = exported.expected(photo, ["cup"])
    masks = [one.mask for one in loaded.mask(photo, "cup", **PLAIN).instances]
    assert max(iou(masks[0], mask) for mask in expected["masks"]) > 0.95
    figures = exported.manifest["parity"]["figures"]
    assert figures["fp32 masks: mean IoU"] > 0.999
    assert figures["int8 masks: mean IoU"] >= 0.98


@pytest.mark.parametrize("shape", [(1, 1), (3000, 4000)])
def test_images_of_one_pixel_and_of_twelve_megapixels(segmenter: automask.Segmenter, shape: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", shape[::-1], (90, 60, 30)).save(file, "JPEG")
    assert segmenter.mask(file.getvalue(), "cup").mask.shape == shape


def test_the_licence_is_in_the_bundle_and_remembered(exported: Exported, tmp_path: Path) -> None:
    assert (exported.folder / "LICENSE").read_text() == (exported.source / "LICENSE").read_text()
    assert "not for military purposes" in exported.manifest["licence"]
    shown = CliRunner().invoke(main, ["models", str(exported.folder)]).output
    assert "SAM License of 19 November 2025" in shown
    assert "military" in (exported.folder / "MODEL_CARD.md").read_text()
    with pytest.raises(ParameterError, match="be a multiple of the patch size 14"):  # no question: it was accepted
        run_export(exported.source, tmp_path / "out", "--image-size", "100")
    assert not (tmp_path / "out").exists()


def test_the_licence_must_be_accepted(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nobody"))
    with pytest.raises(LicenceError, match="not for military purposes.*to accept it: --accept-licence"):
        run_export(exported.source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_for_videos_at_another_image_size(exported: Exported, tmp_path: Path, photo: Array) -> None:
    """As facebook/sam3 is: the detector is a part of it, and the settings of the processor are in the newer file."""
    source, output = tmp_path / "video", tmp_path / "bundle"
    shutil.copytree(exported.source, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({"model_type": "sam3_video", "detector_config": config}))
    weights = {f"detector_model.{name}": one for name, one in load_file(source / "model.safetensors").items()}
    weights |= {"tracker_model.x": torch.zeros(2), "tracker_neck.y": torch.zeros(2)}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((source / "preprocessor_config.json").read_text())
    (source / "preprocessor_config.json").unlink()
    (source / "processor_config.json").write_text(json.dumps({"image_processor": settings | {"crop_size": None}}))
    (source / "LICENSE").unlink()
    printed = run_export(source, output, "--image-size", "84", "--precision=fp32")
    assert "the parity at 84 px is with the checkpoint at this size" in printed.replace("The parity", "the parity")
    assert "the checkpoint has no LICENSE" in printed
    config = tf.Sam3Config.from_dict(config)
    config.image_size = 84
    network = tf.Sam3Model.from_pretrained(exported.source, config=config).eval()
    loaded = automask.load(output, device="cpu")
    (expected,), _ = Exported(network, source, output, "").expected(photo, ["cup"])
    check_same(loaded.mask(photo, "cup", **PLAIN), expected)


def test_a_text_encoder_of_one_length(tmp_path: Path, photo: Array) -> None:
    network = lite_checkpoint(tmp_path / "lite")
    printed = run_export(tmp_path / "lite", tmp_path / "bundle", "--accept-licence", "--precision=fp32")
    assert "Apple" in printed
    lite = Exported(network, tmp_path / "lite", tmp_path / "bundle", printed)
    loaded = automask.load(lite.folder, device="cpu")
    expected, _ = lite.expected(photo, PHRASES[:2])
    for result, one in zip(loaded.mask(photo, PHRASES[:2], **PLAIN), expected, strict=True):
        check_same(result, one)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("weights", CheckpointError, "lack 1 tensors, such as detr_decoder.box_head.layer1.bias"),
        ("size", CheckpointError, "resizes images to 224, its config.json has image_size 112"),
        ("processor", CheckpointError, "neither preprocessor_config.json nor processor_config.json"),
        ("config", CheckpointError, "copy cannot be loaded, its files do not fit together"),
        ("type", ArchitectureError, "is of architecture 'sam4'"),
        ("memory", OutOfMemoryError, "takes about 1.1 GB of memory, 0.0 GB are available"),
        ("disk", SpaceError, "must have .* MB free, got 0 MB"),
    ],
)
def test_bad_checkpoints_and_machines(
    exported: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    error: type[Exception],
    message: str,
) -> None:
    source = tmp_path / "copy"
    shutil.copytree(exported.source, source)
    config = json.loads((source / "config.json").read_text())
    if change == "weights":
        weights = load_file(source / "model.safetensors")
        del weights["detr_decoder.box_head.layer1.bias"]
        save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    elif change == "size":
        settings = json.loads((source / "preprocessor_config.json").read_text())
        settings["size"] = {"height": 224, "width": 224}
        (source / "preprocessor_config.json").write_text(json.dumps(settings))
    elif change == "processor":
        (source / "preprocessor_config.json").unlink()
    elif change == "config":
        config["vision_config"]["backbone_config"]["patch_size"] = "fourteen"
    elif change == "type":
        config["model_type"] = "sam4"
    elif change == "memory":
        monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    else:
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=message):
        run_export(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
