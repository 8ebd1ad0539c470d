"""Detectors with a fixed set of labels, exported with a drawer and used as a user would, beside transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from automask.export.architectures.detectors.timm_backbone import has_timm_backbone, load_without_timm
from automask.export.checkpoint import Checkpoint, CheckpointError
from support.label_set_bundles import PLAIN, Exported, calibrated, check_any_size, export_tiny, wide_photo
from support.label_set_checkpoints import LABELS

MASKED = ("detr", "conditional_detr", "dab-detr", "table-transformer", "deformable_detr")
SOFTMAX = ("detr", "table-transformer", "yolos")


@pytest.fixture(scope="module", params=["rt_detr", "rt_detr_v2", "d_fine", *MASKED, "yolos"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("detectors"), "detectors", request.param)


def test_boxes_are_those_of_transformers(detector: Exported) -> None:
    outputs, processor = detector.in_transformers(wide_photo(), "AutoModelForObjectDetection")
    # YOLOS knows nothing of the padding: its boxes are relative to the whole square.
    square = (640, 640) if detector.name == "yolos" else (320, 640)
    (found,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[square])
    best = int(found["scores"].argmax())
    label = LABELS[int(found["labels"][best])]
    score = calibrated(float(found["scores"][best]))
    # Not at 0, where masks would be drawn for all boxes.
    first = detector.segmenter.mask(wide_photo(), label, threshold=0.95 * score, **PLAIN).instances[0]
    assert first.label == label
    assert first.score == pytest.approx(score, abs=1e-4)
    np.testing.assert_allclose(first.box, np.clip(found["boxes"][best].numpy(), 0, (640, 320) * 2), atol=0.1)


def test_the_manifest_has_the_settings_of_the_processor(detector: Exported) -> None:
    settings = detector.manifest["image"]["detector"]
    assert settings["resize"] == ("longest_side" if detector.name in (*MASKED, "yolos") else "stretch")
    assert settings["scores"] == ("softmax" if detector.name in SOFTMAX else "sigmoid")
    assert ("pixel_mask" in detector.manifest["graphs"]["detector"]["inputs"]) == (detector.name in MASKED)
    assert detector.manifest["kinds"] == {"finder": "labels", "drawer": "sam"}
    assert detector.manifest["text"]["unplaced"] == []


def test_several_prompts_share_one_pass_and_may_be_empty(detector: Exported) -> None:
    photo = wide_photo()
    together = detector.segmenter.mask(photo, ["the cat", "dining tables", "wall"], threshold=0.05, **PLAIN)
    for prompt, result in zip(("cat", "dining table", "wall"), together, strict=True):
        alone = detector.segmenter.mask(photo, prompt, threshold=0.05, **PLAIN)
        assert [(one.box, one.score) for one in alone.instances] == [(one.box, one.score) for one in result.instances]
    assert detector.segmenter.mask(photo, "cat", threshold=1, **PLAIN).is_empty


def test_photos_of_any_size(detector: Exported) -> None:
    if detector.name in {"d_fine", "detr", "yolos"}:  # one for each way of fitting an image into the square
        check_any_size(detector, "person")


def as_in_timm(name: str) -> str:
    """A tensor's name in a checkpoint whose ResNet is timm's."""
    before, prefix, own = name.partition("backbone.conv_encoder.model.")
    if not prefix:
        return name
    parts = own.split(".")
    kind = {"convolution": "conv", "normalization": "bn"}[parts[-2]]
    if parts[0] == "embedder":
        return f"{before}{prefix}{kind}1.{parts[-1]}"
    place = f"layer{int(parts[2]) + 1}.{parts[4]}"
    if parts[5] == "shortcut":
        return f"{before}{prefix}{place}.downsample.{int(kind == 'bn')}.{parts[-1]}"
    return f"{before}{prefix}{place}.{kind}{int(parts[6]) + 1}.{parts[-1]}"


@pytest.mark.parametrize(("kind", "stages"), [("Detr", ["stage4"]), ("DeformableDetr", ["stage2", "stage3", "stage4"])])
def test_a_backbone_of_timm_is_loaded_without_timm(tmp_path: Path, kind: str, stages: list[str]) -> None:
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 5}
    sizes |= {f"{half}_{part}": 8 for half in ("encoder", "decoder") for part in ("attention_heads", "ffn_dim")}
    config = getattr(tf, f"{kind}Config")(
        **sizes, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=tf.ResNetConfig(out_features=stages),
    )  # fmt: skip
    torch.manual_seed(0)
    network = getattr(tf, f"{kind}ForObjectDetection")(config).eval()
    network.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({as_in_timm(name): tensor for name, tensor in weights.items()}, tmp_path / "model.safetensors")
    content = {**config.to_dict(), "use_timm_backbone": True, "backbone": "resnet50", "use_pretrained_backbone": True}
    checkpoint = Checkpoint(tmp_path, "old", "", {**content, "backbone_config": None}, "")
    assert has_timm_backbone(checkpoint)
    loaded = load_without_timm(checkpoint, tf.AutoModelForObjectDetection)
    pixels = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels).logits, network(pixels).logits)
    save_file({"class_labels_classifier.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read|lack"):
        load_without_timm(checkpoint, tf.AutoModelForObjectDetection)


def test_another_backbone_of_timm_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "detr", "backbone": "convnext_tiny"}
    with pytest.raises(CheckpointError, match="the backbone convnext_tiny of timm; this export can load resnet50"):
        load_without_timm(Checkpoint(tmp_path, "other", "", config, ""), tf.AutoModelForObjectDetection)
