"""`automask.json` of the default bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from automask.bundle import sha256

from . import detector, parity, segmenter
from .sources import SOURCES

__all__ = ["manifest"]

_PACKAGES = ("torch", "onnx", "onnxslim", "onnxruntime", "numpy")


def manifest(folder: Path, figures: Mapping[str, float]) -> dict[str, Any]:
    """Describe the files in a folder.

    Parameters
    ----------
    folder
        Holds every file of the bundle but the manifest and the model card.
    figures
        What `parity.check` returned.
    """
    return {
        "schema_version": 1,
        "name": "default",
        "family": "boxes",
        "description": (
            "Finds 80 kinds of everyday object (COCO) by their names and common synonyms, and draws a mask for each."
        ),
        "licence": "Apache-2.0",
        "sources": [asdict(source) for source in SOURCES],
        "exported_with": {name: metadata.version(name) for name in _PACKAGES} | detector.CONVERTER,
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        "graphs": _graphs(),
        "image": _image(),
        "text": {"kind": "vocabulary", "file": "vocabulary.json"},
        # The detector's own good operating point, 0.35, becomes the API's default threshold, 0.2.
        "calibration": [[0, 0], [0.35, 0.2], [1, 1]],
        "parity": dict(figures),
    }


def _graphs() -> dict[str, Any]:
    side = segmenter.SIZE // 16
    embedding = _tensor("batch", 256, side, side)
    mask = segmenter.SIZE // 4
    return {
        "detector": {
            "variants": {"fp32": "detector.onnx"},
            "inputs": {"image": _tensor("batch", 3, detector.SIZE, detector.SIZE)},
            "outputs": {
                "scores": _tensor("batch", detector.CELLS, detector.CLASSES),
                "distances": _tensor("batch", detector.CELLS, 4),
            },
        },
        "image_encoder": {
            "variants": {"int8": "image_encoder.int8.onnx", "fp32": "image_encoder.onnx"},
            "inputs": {"image": _tensor("batch", 3, segmenter.SIZE, segmenter.SIZE)},
            "outputs": {"image_embedding": embedding},
        },
        "mask_decoder": {
            "variants": {"int8": "mask_decoder.int8.onnx", "fp32": "mask_decoder.onnx"},
            "inputs": {"image_embedding": _tensor(1, 256, side, side), "boxes": _tensor("boxes", 4)},
            "outputs": {"logits": _tensor("boxes", mask, mask), "iou": _tensor("boxes")},
        },
    }


def _tensor(*shape: int | str) -> dict[str, Any]:
    return {"dtype": "float32", "shape": list(shape)}


def _image() -> dict[str, Any]:
    normalisation = {"mean": list(parity.MEAN), "std": list(parity.STD)}
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
