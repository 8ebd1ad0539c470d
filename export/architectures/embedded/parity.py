"""Parity of the default bundle: each graph beside its source, on one image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Compare the encoders and the decoders with torch in float32, the decoders for boxes, points and both."""
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
    for what, feed in _prompts().items():
        with torch.inference_mode():
            expected = model.decoder(reference, *map(torch.from_numpy, feed.values()))[0].numpy()
        for name in ("mask_decoder.onnx", "mask_decoder.int8.onnx"):
            logits = _run(str(folder / name), {"image_embedding": embedding, **feed})[0]
            agreement = float(((logits > 0) == (expected > 0)).mean())
            # Random points contradict each other, and their masks' outlines are less certain than a box's.
            least = 0.96 if "points" in what else 0.98
            figures.append(Figure(f"{name}: same side of 0, {what}", agreement, least, at_least=True))
    return figures


def _prompts() -> dict[str, dict[str, NDArray[Any]]]:
    """Return prompts of 1, 2 and 7 boxes, of 1, 2 and 5 points, and of points and a box, as the decoder takes them."""
    shapes = {f"{n} boxes": (n, 0, True) for n in (1, 2, 7)}
    shapes |= {f"{p} points": (3, p, False) for p in (1, 2, 5)}
    return {name: _prompt(*shape) for name, shape in {**shapes, "2 points and a box": (3, 2, True)}.items()}


def _prompt(count: int, clicks: int, has_box: bool) -> dict[str, NDArray[Any]]:
    """Draw random prompts inside the upper left 512 x 384, which a 4:3 image fills; the first click is inside."""
    random = np.random.default_rng(count + 10 * clicks)
    corners = np.sort(random.uniform((0, 0), (512, 384), (count, 2, 2)), axis=1)
    points = random.uniform((0, 0), (512, 384), (count, clicks, 2))
    labels = np.tile([*[1, 0, 1, 1, 0][:clicks], *((2, 3) if has_box else (-1,))], (count, 1))
    ends = corners if has_box else np.zeros((count, 1, 2))
    return {"points": np.concatenate([points, ends], axis=1).astype(np.float32), "labels": labels.astype(np.int64)}


def _run(model: str | bytes, feed: Mapping[str, NDArray[Any]]) -> list[Array]:
    session = import_onnxruntime().InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def _percentile(a: Array, b: Array) -> float:
    return float(np.percentile(np.abs(a - b), 99))
