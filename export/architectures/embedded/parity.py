"""Parity of the default bundle: each graph beside its source, on one image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from automask.devices import import_onnxruntime

from ...figures import Figure
from ...parity import Image, cosine, largest_difference
from . import detector, segmenter

if TYPE_CHECKING:
    from .detector import Conversion
    from .segmenter import MobileSam

__all__ = ["MEAN", "STD", "detector_figures", "detector_image", "encoder_image", "segmenter_figures"]

# ImageNet's, in units of 0..255; both networks were trained with them.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

Array = NDArray[np.float32]


def detector_image(pixels: Image) -> Array:
    """Stretch an image to the detector's square and normalise it: shape (1, 3, 416, 416)."""
    size = (detector.SIZE, detector.SIZE)
    return _normalised(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), detector.SIZE)


def encoder_image(pixels: Image) -> Array:
    """Fit an image into the encoder's square and normalise it: shape (1, 3, 512, 512), padded with zeros."""
    height, width = pixels.shape[:2]
    scale = segmenter.SIZE / max(height, width)
    size = (round(width * scale), round(height * scale))
    return _normalised(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), segmenter.SIZE)


def _normalised(pixels: NDArray[np.generic], size: int) -> Array:
    square = np.zeros((size, size, 3), np.float32)
    square[: pixels.shape[0], : pixels.shape[1]] = (pixels - np.array(MEAN)) / np.array(STD)
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None])


def detector_figures(exact: onnx.ModelProto, small: Path, conversion: Conversion, image: Array) -> list[Figure]:
    """Compare the float32 graph, and the published one with float16 weights, with Paddle."""
    figures = []
    for name, model, scores_limit, boxes_limit in (
        ("detector fp32", exact.SerializeToString(), 1e-4, 0.02),
        ("detector", str(small), 0.02, 1.0),
    ):
        scores, distances = _run(model, {"image": image})
        boxes = detector.decode(distances[0])
        figures += [
            Figure(
                f"{name}: score, largest difference", largest_difference(scores[0].T, conversion.scores), scores_limit
            ),
            Figure(f"{name}: box, 99th percentile, px", _percentile(boxes, conversion.boxes), boxes_limit),
        ]
    return figures


def segmenter_figures(model: MobileSam, folder: Path, image: Array) -> list[Figure]:
    """Compare the encoders and the decoders with torch in float32, the decoders for 1, 2 and 7 boxes."""
    with torch.inference_mode():
        reference = model.encoder(torch.from_numpy(image))
    embedding = reference.numpy()
    figures = []
    for name in ("image_encoder.onnx", "image_encoder.int8.onnx"):
        (found,) = _run(str(folder / name), {"image": image})
        figures += [
            Figure(f"{name}: cosine", cosine(found, embedding), 0.995, at_least=True),
            Figure(f"{name}: largest difference", largest_difference(found, embedding), 0.2),
        ]
    for count in (1, 2, 7):
        boxes = _boxes(count)
        with torch.inference_mode():
            expected = model.decoder(reference, torch.from_numpy(boxes))[0].numpy()
        for name in ("mask_decoder.onnx", "mask_decoder.int8.onnx"):
            logits = _run(str(folder / name), {"image_embedding": embedding, "boxes": boxes})[0]
            agreement = float(((logits > 0) == (expected > 0)).mean())
            figures.append(Figure(f"{name}: same side of 0, {count} boxes", agreement, 0.98, at_least=True))
    return figures


def _boxes(count: int) -> Array:
    """Draw random boxes inside the upper left 512 x 384, which a 4:3 image fills."""
    corners = np.random.default_rng(count).uniform((0, 0), (512, 384), (count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def _run(model: str | bytes, feed: Mapping[str, Array]) -> list[Array]:
    session = import_onnxruntime().InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def _percentile(a: Array, b: Array) -> float:
    return float(np.percentile(np.abs(a - b), 99))
