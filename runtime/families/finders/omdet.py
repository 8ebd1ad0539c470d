"""OmDet-Turbo: a detector that reads a list of classes and a task, such as "Detect cup, spoon.".

Source: arXiv:2403.06892.
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
from ...words.free_text import FreeText
from ...words.tokenizer import Tokenizer, Tokens
from ..family import Picture, Prediction, Stopwatch
from .finder import Detections
from .overlap import suppress
from .ranking import distinct, rank

__all__ = ["OmDet"]


class OmDet:
    """The graphs `text_encoder`, `detector_encoder` and `detector`, and CLIP's tokenizer.

    All phrases of a call are the classes of one pass of the detector. Features of the image are cached by image, those
    of a text by its tokens, and detections by both.

    Notes
    -----
    As in transformers' `post_process_grounded_object_detection`, boxes of one phrase are suppressed by non-maximum
    suppression. An object that two phrases of a prompt both found is taken once.
    """

    reads_together: ClassVar[bool] = True

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        roles = ("text_encoder", "detector_encoder", "detector")
        self._text_graph, self._image_graph, self._detector_graph = (sessions[role] for role in roles)
        self._cache = cache
        self.words = self.read_words(bundle)
        self._tokenizer = Tokenizer(bundle.folder / bundle.text["file"], bundle.text["max_length"])
        self._task: str = bundle.text["task"]
        settings = bundle.image["detector_encoder"]
        self._resize = read_resize(settings, self._image_graph)
        self._nms_iou: float = settings["nms_iou"]
        self._calibration = np.array(bundle.calibration, np.float32).T
        _check_graphs(bundle, self._resize.size)

    @staticmethod
    def read_words(bundle: Bundle) -> FreeText:
        """Return the open vocabulary, which is the same for every bundle."""
        del bundle
        return FreeText()

    def find(
        self, picture: Picture, prompts: Sequence[tuple[str, ...]], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Detections]:
        """Return the objects of each prompt with a score at or above its threshold, up to `MAX_INSTANCES`."""
        phrases = list(dict.fromkeys(phrase for prompt in prompts for phrase in prompt))
        with watch.stage("text"):
            tokens = {phrase: self._tokenizer.encode(phrase) for phrase in phrases}
            classes = np.concatenate([self._encode_text(one)[0] for one in tokens.values()])
            # The task only repeats the classes: that its end may be cut off drops no phrase.
            task = self._tokenizer.encode(self._task.replace("{}", ", ".join(phrases)))
            features = self._encode_text(task)[1][0]
        with watch.stage("detect"):
            key = (picture.key, "detections", task.ids, *(one.ids for one in tokens.values()))
            boxes, scores = self._cache.get(key, lambda: self._detect(picture, classes, features))
            columns = {phrase: scores[:, index] for index, phrase in enumerate(phrases)}
            return [
                self._choose(picture.size, boxes, {phrase: columns[phrase] for phrase in prompt}, tokens, threshold)
                for prompt, threshold in zip(prompts, thresholds, strict=True)
            ]

    def _encode_text(self, tokens: Tokens) -> Arrays:
        """Return the embedding of one text, (1, d), and the features of its tokens, (1, length, d)."""
        ids = np.array([tokens.ids], np.int64)
        return self._cache.get(("text", tokens.ids), lambda: self._text_graph.run(input_ids=ids))

    def _encode_image(self, picture: Picture) -> Arrays:
        """Return features and boxes of the image's cells."""
        return self._image_graph.run_on_device(pixel_values=self._resize.apply(picture.pixels, picture.size))

    def _detect(self, picture: Picture, classes: NDArray[np.float32], task: NDArray[np.float32]) -> Arrays:
        """Return boxes, (queries, 4) in pixels of the image, and calibrated scores, (queries, classes)."""
        vision, cells, anchors = self._cache.get((picture.key, "vision"), lambda: self._encode_image(picture))
        boxes, logits = self._detector_graph.run(
            vision=vision, cells=cells, anchors=anchors, class_embeds=classes, task=task
        )
        scores = 0.5 + 0.5 * np.tanh(0.5 * logits)  # the logistic function, without overflow
        height, width = picture.size
        centres, halves = boxes[:, :2], boxes[:, 2:] / 2
        corners = np.concatenate((centres - halves, centres + halves), axis=1) * np.array([width, height] * 2)
        return corners.astype(np.float32), np.interp(scores, *self._calibration).astype(np.float32)

    def _choose(
        self,
        size: tuple[int, int],
        boxes: NDArray[np.float32],
        scores: dict[str, NDArray[np.float32]],
        tokens: dict[str, Tokens],
        threshold: float,
    ) -> Detections:
        """Return the best objects of the phrases of one prompt; overlap is that of the boxes before clipping."""
        pairs = [
            (index, phrase)
            for phrase, column in scores.items()
            for index in suppress(boxes, column, threshold, self._nms_iou)
        ]
        found = np.array([index for index, _ in pairs], int)
        best = np.array([scores[phrase][index] for index, phrase in pairs], np.float32)
        labels = [phrase for _, phrase in pairs]
        height, width = size
        clipped = np.clip(boxes[found], 0, np.array([width, height] * 2, np.float32))
        kept = distinct(clipped, best, labels, threshold)
        prediction = _describe(tuple(scores), [tokens[phrase] for phrase in scores])
        return rank(prediction, clipped[kept], best[kept], [labels[index] for index in kept], threshold)


def _describe(phrases: tuple[str, ...], tokens: Sequence[Tokens]) -> Prediction:
    dropped = tuple(words for one in tokens for words in one.dropped)
    warnings = tuple(dict.fromkeys(warning for one in tokens for warning in one.warnings))
    return Prediction(phrases, dropped, warnings)


def _check_graphs(bundle: Bundle, size: int) -> None:
    bundle.require(
        "text_encoder",
        inputs={"input_ids": (None, None)},
        outputs={"class_embeds": (None, None), "features": (None, None, None)},
    )
    cells = {"vision": (None, None, None), "cells": (None, None, None), "anchors": (None, None, 4)}
    bundle.require("detector_encoder", inputs={"pixel_values": (None, 3, size, size)}, outputs=cells)
    bundle.require(
        "detector",
        inputs={**cells, "class_embeds": (None, None), "task": (None, None)},
        outputs={"boxes": (None, 4), "logits": (None, None)},
    )
