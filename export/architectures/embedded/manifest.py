"""`automask.json` of the default bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from automask.manifest import describe_bundle

from ...graphs import Tensor
from ...manifest import describe_graph, versions
from . import detector, segmenter
from .parity import MEAN, STD
from .sources import SOURCES

__all__ = ["VOCABULARY", "describe"]

VOCABULARY = "vocabulary.json"
_PACKAGES = ("torch", "onnx", "onnxslim", "onnxruntime", "numpy")
# Int8 first, as in the committed bundle.
_PRECISIONS = ("int8", "fp32")


def describe(folder: Path, figures: Mapping[str, float]) -> dict[str, Any]:
    """Describe the files in a folder.

    Parameters
    ----------
    folder
        Holds every file of the bundle but the manifest and the model card.
    figures
        What `figures.check` returned.
    """
    return describe_bundle(
        folder,
        name="default",
        family="boxes",
        description=(
            "Finds 80 kinds of everyday object (COCO) by their names and common synonyms, and draws a mask for each, "
            "or for whatever is in a box or under a point."
        ),
        licence="Apache-2.0",
        sources=[asdict(source) for source in SOURCES],
        exported_with=versions(_PACKAGES) | detector.CONVERTER,
        graphs=_graphs(),
        image=_image(),
        text={"file": VOCABULARY},
        # 0.35, a good threshold for the detector's scores, becomes the API's default threshold, 0.2.
        calibration=[[0, 0], [0.35, 0.2], [1, 1]],
    ) | {"parity": dict(figures)}


def _graphs() -> dict[str, Any]:
    side = segmenter.SIZE // 16
    mask = segmenter.SIZE // 4
    return {
        "detector": describe_graph(
            "detector",
            ["fp32"],
            {"image": _image_tensor(detector.SIZE)},
            {
                "scores": Tensor(("batch", detector.CELLS, detector.CLASSES)),
                "distances": Tensor(("batch", detector.CELLS, 4)),
            },
        ),
        "image_encoder": describe_graph(
            "image_encoder",
            _PRECISIONS,
            {"image": _image_tensor(segmenter.SIZE)},
            {"image_embedding": Tensor(("batch", 256, side, side))},
        ),
        "mask_decoder": describe_graph(
            "mask_decoder",
            _PRECISIONS,
            {
                "image_embedding": Tensor((1, 256, side, side)),
                "points": Tensor(("prompts", "points", 2)),
                "labels": Tensor(("prompts", "points"), "int64"),
            },
            {"logits": Tensor(("prompts", mask, mask)), "iou": Tensor(("prompts",))},
        ),
    }


def _image_tensor(size: int) -> Tensor:
    return Tensor(("batch", 3, size, size))


def _image() -> dict[str, Any]:
    normalisation = {"mean": list(MEAN), "std": list(STD)}
    return {
        "detector": {
            "size": detector.SIZE,
            "resize": "stretch",
            "interpolation": "cubic",
            **normalisation,
            "strides": list(detector.STRIDES),
            "nms_iou": detector.NMS_IOU,
        },
        "image_encoder": {
            "size": segmenter.SIZE,
            "resize": "longest_side",
            "interpolation": "linear",
            **normalisation,
            "mask_stride": 4,
        },
    }
