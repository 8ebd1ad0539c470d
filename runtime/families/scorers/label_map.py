"""Semantic segmentation nets: the label of each pixel, out of a fixed set.

Source: the post-processing of transformers, `post_process_semantic_segmentation`, which takes the best label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...session import Session
from ...words.meaning import Term
from ...words.vocabulary import Vocabulary
from ..family import Picture, Prediction, Stopwatch
from ..terms import describe

__all__ = ["LabelMap"]

_SURE = 30.0  # log-odds of a score of 1 in float32


class LabelMap:
    """The graph `segmenter` and a vocabulary; parameters as for `Family`.

    The probabilities of the labels depend on the image alone and are cached; prompts only choose among the labels.

    Attributes
    ----------
    words
        The vocabulary.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._graph, self._cache = sessions["segmenter"], cache
        self.words = self.read_words(bundle)
        self._resize = read_resize(bundle.image["segmenter"], self._graph)
        self._calibration = bundle.calibration
        size = self._resize.size
        bundle.require(
            "segmenter",
            inputs={"pixel_values": (None, 3, size, size)},
            outputs={"logits": (None, len(self.words.labels), None, None)},
        )

    @property
    def device(self) -> str:
        """The device on which the graph runs."""
        return self._graph.device

    @staticmethod
    def read_words(bundle: Bundle) -> Vocabulary:
        """Read the vocabulary of a bundle."""
        return Vocabulary.from_file(bundle.folder / bundle.text["file"])

    def score(self, picture: Picture, prompts: Sequence[tuple[Term, ...]], watch: Stopwatch) -> list[Prediction]:
        """Return one prediction for each prompt; together they cost one run of the graph."""
        with watch.stage("encode"):
            (logs,) = self._cache.get((picture.key, "labels"), lambda: self._run(picture))
        with watch.stage("masks"):
            return [replace(describe(terms), score_map=self._score_map(logs, terms, picture.size)) for terms in prompts]

    def _run(self, picture: Picture) -> Arrays:
        """Return the logarithm of each label's probability, (classes, h, w), over the whole image."""
        (logits,) = self._graph.run(pixel_values=self._resize.apply(picture.pixels, picture.size))
        height, width = self._resize.inside(picture.size, logits.shape[2:])
        inside = logits[0, :, :height, :width]
        shifted = inside - inside.max(axis=0)
        return (shifted - np.log(np.exp(shifted).sum(axis=0)),)

    def _score_map(
        self, logs: NDArray[np.float32], terms: Sequence[Term], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return the scores of a prompt at the size of the image, (H, W) in 0..1."""
        height, width = size
        # Scores are made after the interpolation, as in transformers: those of two neighbours may differ in how sure
        # they are, and the edge between them would move.
        log_odds = _log_odds(logs, [term.index for term in terms])
        resized = cv2.resize(log_odds, (width, height), interpolation=cv2.INTER_LINEAR)
        scores = 0.5 + 0.5 * np.tanh(0.5 * resized)  # the logistic function, without overflow
        return _calibrate(np.asarray(scores, np.float32), self._calibration)


def _calibrate(scores: NDArray[np.float32], points: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Return scores interpolated between points (raw, calibrated).

    On whole images it takes a third of the time of `np.interp`.
    """
    calibrated = np.zeros_like(scores)
    for (start, low), (stop, high) in pairwise(points):
        part = np.clip(scores, np.float32(start), np.float32(stop))
        part -= np.float32(start)
        part *= np.float32((high - low) / (stop - start))
        calibrated += part
    return calibrated


def _log_odds(logs: NDArray[np.float32], labels: Sequence[int]) -> NDArray[np.float32]:
    """Return how much more likely some labels together are than the best other one, as a logarithm, (h, w).

    For one label, it is above 0 where this label is the best one, however many others share the rest.

    Parameters
    ----------
    logs
        Logarithm of each label's probability, (classes, h, w).
    """
    wanted = logs[list(labels)]
    best = wanted.max(axis=0)
    together = best + np.log(np.exp(wanted - best).sum(axis=0))
    other = np.delete(logs, list(labels), axis=0).max(axis=0, initial=-_SURE)
    return np.asarray(np.clip(together - other, -_SURE, _SURE), np.float32)
