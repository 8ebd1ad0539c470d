"""Detectors with a fixed set of labels that give each object one box: DETR and its successors, YOLOS.

Sources: arXiv:2005.12872 (DETR: softmax with a class for "no object"), arXiv:2010.04159 (Deformable DETR: sigmoid).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...session import Session
from ...words.meaning import Term
from ...words.vocabulary import Vocabulary
from ..family import Picture, Stopwatch
from .choice import choose
from .finder import Detections

__all__ = ["Labels"]


class Labels:
    """The graph `detector` and a vocabulary.

    The manifest gives ``scores`` under ``image.detector``: ``sigmoid``, or ``softmax`` where the last class means "no
    object". ``nms_iou`` is there only if the model needs non-maximum suppression.
    Boxes and scores depend on the image alone and are cached; prompts only choose among the labels.
    """

    reads_together: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._graph, self._cache = sessions["detector"], cache
        self.words = self.read_words(bundle)
        settings = bundle.image["detector"]
        self._resize = read_resize(settings, self._graph)
        self._activation = _ACTIVATIONS[settings["scores"]]
        self._nms_iou: float | None = settings.get("nms_iou")
        self._calibration = np.array(bundle.calibration, np.float32).T
        size, classes = self._resize.size, len(self.words.labels) + (settings["scores"] == "softmax")
        self._masked = "pixel_mask" in bundle.graphs["detector"].inputs
        mask = {"pixel_mask": (None, size, size)} if self._masked else {}
        bundle.require(
            "detector",
            inputs={"pixel_values": (None, 3, size, size), **mask},
            outputs={"logits": (None, None, classes), "boxes": (None, None, 4)},
        )

    @staticmethod
    def read_words(bundle: Bundle) -> Vocabulary:
        """Read the vocabulary of a bundle."""
        return Vocabulary.from_file(bundle.folder / bundle.text["file"])

    def find(
        self, picture: Picture, prompts: Sequence[tuple[Term, ...]], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Detections]:
        """Return the objects of each prompt with a score at or above its threshold, up to `MAX_INSTANCES`."""
        with watch.stage("detect"):
            boxes, scores = self._cache.get((picture.key, "detections"), lambda: self._detect(picture))
            return [
                choose(boxes, scores, terms, threshold, self._nms_iou)
                for terms, threshold in zip(prompts, thresholds, strict=True)
            ]

    def _detect(self, picture: Picture) -> Arrays:
        """Return all boxes, (n, 4) in pixels of the image, and their scores, (n, classes)."""
        size, (covered_height, covered_width) = self._resize.size, self._resize.covered(picture.size)
        inputs = {"pixel_values": self._resize.apply(picture.pixels, picture.size)}
        padding = np.array([size / covered_width, size / covered_height], np.float32)
        if self._masked:
            inputs["pixel_mask"] = np.zeros((1, size, size), np.int64)
            inputs["pixel_mask"][:, :covered_height, :covered_width] = 1
            padding = np.ones(2, np.float32)  # the model itself leaves it out of its coordinates
        logits, relative = self._graph.run(**inputs)
        height, width = picture.size
        scale = padding * (width, height)
        centres, halves = relative[0, :, :2] * scale, relative[0, :, 2:] * scale / 2
        boxes = np.concatenate((centres - halves, centres + halves), axis=1)
        raw, calibrated = self._calibration
        scores = np.interp(self._activation(logits[0]), raw, calibrated)
        return np.clip(boxes, 0, (width, height) * 2).astype(np.float32), scores.astype(np.float32)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)  # without overflow


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of each class but the last one, "no object"."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds[:, :-1] / odds.sum(axis=1, keepdims=True), np.float32)


_ACTIVATIONS = {"sigmoid": _sigmoid, "softmax": _softmax}
