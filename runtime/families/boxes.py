"""Family `boxes`: words choose among a detector's boxes, and SAM draws one mask into each.

Source of the parts: PicoDet, arXiv:2111.00902; Segment Anything, arXiv:2304.02643; MobileSAM, arXiv:2306.14289.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..devices import DEVICES
from ..instance import Instance
from ..preprocess import Resize
from ..session import Session
from ..words.vocabulary import Term, Vocabulary
from . import Picture, Prediction, Stopwatch

__all__ = ["MAX_INSTANCES", "Boxes"]

MAX_INSTANCES = 100
"""Most objects that one call draws masks for, the best ones first: thresholds near 0 would ask for thousands."""

# Of the area of an object's largest part. Nearly all smaller parts are dust and scraps of the background that the box
# takes in; holes are kept much smaller, for they may be real. Mean IoU on 74 pairs is the same without either (within
# 0.001), but a cut-out shows the difference.
_LEAST_PART, _LEAST_HOLE = 0.1, 0.01


@dataclass(frozen=True, slots=True)
class _Detections:
    """Every box the detector looked at, for all classes, before any threshold.

    Attributes
    ----------
    boxes
        (n, 4) float32: left, top, right, bottom in pixels of the photo.
    scores
        (n, classes) float32, calibrated, 0..1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class Boxes:
    """The graphs `detector`, `image_encoder` and `mask_decoder`, and the table of words.

    Parameters
    ----------
    bundle
        A bundle of this family.
    sessions
        A session for each of the three graphs, by role.
    cache
        Keeps detections and encodings by picture.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        roles = ("detector", "image_encoder", "mask_decoder")
        self._detector_graph, self._encoder_graph, self._decoder_graph = (sessions[role] for role in roles)
        self._cache = cache
        self.words = self.read_words(bundle)
        self._calibration = np.array(bundle.calibration, np.float32).T
        self._detector = Resize.read(bundle.image["detector"])
        self._encoder = Resize.read(bundle.image["image_encoder"])
        self._strides: list[int] = bundle.image["detector"]["strides"]
        self._nms_iou: float = bundle.image["detector"]["nms_iou"]
        self._mask_stride: int = bundle.image["image_encoder"]["mask_stride"]

    @property
    def device(self) -> str:
        """Where the graphs run."""
        return self._encoder_graph.device

    @staticmethod
    def read_words(bundle: Bundle) -> Vocabulary:
        """Read the table of words of a bundle."""
        return Vocabulary.from_file(bundle.folder / bundle.text["file"])

    def predict(
        self, picture: Picture, prompts: Sequence[tuple[Term, ...]], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each resolved prompt, at its own threshold; they share the work on the picture."""
        with watch.stage("detect"):
            detections = self._detect(picture)
            chosen = [self._choose(detections, *pair) for pair in zip(prompts, thresholds, strict=True)]
        # A box that two prompts share is drawn once.
        wanted = sorted({(cell, index) for pairs in chosen for cell, index in pairs})
        instances = dict(zip(wanted, self._draw(picture, detections, wanted, watch), strict=True))
        return [
            _prediction(terms, [instances[pair] for pair in pairs])
            for terms, pairs in zip(prompts, chosen, strict=True)
        ]

    def _detect(self, picture: Picture) -> _Detections:
        """Run the detector, or take what it said of the same picture before."""
        return _Detections(*self._cache.get((picture.key, "detections"), lambda: self._run_detector(picture)))

    def _run_detector(self, picture: Picture) -> Arrays:
        scores, distances = self._detector_graph.run(image=self._detector.stretch(picture.pixels))
        height, width = picture.size
        cells, strides = _cells(self._detector.size, tuple(self._strides))
        corners = np.concatenate((cells - distances[0, :, :2], cells + distances[0, :, 2:]), axis=1) * strides
        boxes = corners * (np.array([width, height] * 2, np.float32) / self._detector.size)
        raw, calibrated = self._calibration
        return (
            np.clip(boxes, 0, np.array([width, height] * 2, np.float32)),
            np.interp(scores[0], raw, calibrated).astype(np.float32),
        )

    def _choose(self, detections: _Detections, terms: Sequence[Term], threshold: float) -> list[tuple[int, int]]:
        """Pick (cell, class) of what is at or above the threshold and no double of a better one, best first."""
        pairs: list[tuple[int, int]] = []
        for term in terms:
            scores = detections.scores[:, term.index]
            cells = np.flatnonzero(scores >= threshold)
            boxes = detections.boxes[cells]
            sized = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)
            kept = cv2.dnn.NMSBoxes(sized.tolist(), scores[cells].tolist(), 0.0, self._nms_iou, top_k=1000)
            pairs += [(int(cells[i]), term.index) for i in np.array(kept, int).ravel()]
        pairs.sort(key=lambda pair: -detections.scores[pair])
        return pairs[:MAX_INSTANCES]

    def _draw(
        self, picture: Picture, detections: _Detections, pairs: Sequence[tuple[int, int]], watch: Stopwatch
    ) -> list[Instance]:
        if not pairs:
            return []
        with watch.stage("encode"):
            (embedding,) = self._cache.get(
                (picture.key, "embedding"),
                lambda: self._encoder_graph.run(image=self._encoder.fit(picture.pixels, picture.size)),
            )
        boxes = detections.boxes[[cell for cell, _ in pairs]]
        height, width = picture.size
        fitted = self._encoder.fitted_size(height, width)
        to_frame = np.array([fitted[1] / width, fitted[0] / height] * 2, np.float32)
        with watch.stage("masks"):
            logits = self._decode(embedding, boxes * to_frame)
        rows, columns = fitted[0] // self._mask_stride, fitted[1] // self._mask_stride
        return [
            Instance(
                label=self.words.labels[index],
                score=float(detections.scores[cell, index]),
                box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                size=picture.size,
                logits=_without_specks(one[:rows, :columns]),
            )
            for (cell, index), box, one in zip(pairs, boxes, logits, strict=True)
        ]

    def _decode(self, embedding: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Draw one mask into each box: (n, 4) in pixels of the encoder's square to (n, h, w) logits."""
        step = len(boxes) if DEVICES[self.device].batches_boxes else 1
        parts = [boxes[start : start + step] for start in range(0, len(boxes), step)]
        drawn = [self._decoder_graph.run(image_embedding=embedding, boxes=part)[0] for part in parts]
        return np.concatenate(drawn)


def _without_specks(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Drop the small parts of a mask, then fill its pinholes, as SAM's own tool does; see `_LEAST_PART`."""
    clean = logits.copy()
    largest = 0
    for sign, least in ((1, _LEAST_PART), (-1, _LEAST_HOLE)):
        _, parts, facts, _ = cv2.connectedComponentsWithStats((sign * clean > 0).astype(np.uint8), connectivity=4)
        areas = np.asarray(facts)[:, cv2.CC_STAT_AREA]
        largest = largest or max(areas[1:], default=0)
        small = areas < least * largest
        small[0] = False  # the first one is what is on the other side
        np.negative(clean, out=clean, where=small[parts])
    return clean


def _cells(size: int, strides: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres of the detector's cells in units of their stride, (n, 2) x and y, and the strides, (n, 1)."""
    centres, scales = [], []
    for stride in strides:
        count = -(-size // stride)
        y, x = np.mgrid[:count, :count].astype(np.float32) + 0.5
        centres.append(np.stack((x.ravel(), y.ravel()), axis=1))
        scales.append(np.full((count * count, 1), stride, np.float32))
    return np.concatenate(centres), np.concatenate(scales)


def _prediction(terms: Sequence[Term], instances: list[Instance]) -> Prediction:
    dropped = tuple(words for term in terms for words in term.dropped)
    labels = tuple(term.label for term in terms)
    warnings: tuple[str, ...] = ()
    if dropped:
        warnings = (
            f"not used: {', '.join(map(repr, dropped))}; this model knows kinds of objects, not their attributes or "
            f"places, so the mask shows every {' and '.join(labels)}",
        )
    return Prediction(labels, dropped, warnings, tuple(instances))
