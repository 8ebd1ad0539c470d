"""Detectors with a fixed set of labels, exported with a drawer and used as a user would, beside transformers."""

import numpy as np
import pytest

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
    result = detector.segmenter.mask(wide_photo(), label, threshold=0, **PLAIN)
    first = result.instances[0]
    assert first.label == label
    assert first.score == pytest.approx(calibrated(float(found["scores"][best])), abs=1e-4)
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
