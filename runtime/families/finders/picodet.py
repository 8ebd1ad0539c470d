"""PicoDet: a detector with fixed classes.

Source: arXiv:2111.00902.
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

__all__ = ["PicoDet"]


class PicoDet:
    """Detector with fixed classes: the graph `detector` and a vocabulary.

    Its boxes and scores depend on the image alone and are cached; prompts only choose among the classes.
    """

    reads_together: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._graph = sessions["detector"]
        self._cache = cache
        self.words = self.read_words(bundle)
        settings = bundle.image["detector"]
        self._resize = read_resize(settings, self._graph)
        self._cells, self._strides = _cells(self._resize.size, settings["strides"])
        self._nms_iou: float = settings["nms_iou"]
        self._calibration = np.array(bundle.calibration, np.float32).T
        size, cells = self._resize.size, len(self._cells)
        bundle.require(
            "detector",
            inputs={"image": (None, 3, size, size)},
            outputs={"scores": (None, cells, len(self.words.labels)), "distances": (None, cells, 4)},
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
        scores, distances = self._graph.run(image=self._resize.stretch(picture.pixels))
        height, width = picture.size
        corners = np.concatenate((self._cells - distances[0, :, :2], self._cells + distances[0, :, 2:]), axis=1)
        limits = np.array([width, height] * 2, np.float32)
        boxes = corners * self._strides * (limits / self._resize.size)
        raw, calibrated = self._calibration
        return np.clip(boxes, 0, limits), np.interp(scores[0], raw, calibrated).astype(np.float32)


def _cells(size: int, strides: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the centres of the detector's cells in units of their stride, (n, 2) x and y, and the strides, (n, 1)."""
    centres, scales = [], []
    for stride in strides:
        count = -(-size // stride)
        y, x = np.mgrid[:count, :count].astype(np.float32) + 0.5
        centres.append(np.stack((x.ravel(), y.ravel()), axis=1))
        scales.append(np.full((count * count, 1), stride, np.float32))
    return np.concatenate(centres), np.concatenate(scales)
