"""Semantic segmentation nets: the label of each pixel, out of a fixed set.

Source: the post-processing of transformers, `post_process_semantic_segmentation`, which takes the best label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...preprocess import Resize
from ...session import Session
from ...words.meaning import Term
from ...words.vocabulary import Vocabulary
from ..family import Picture, Prediction, Stopwatch
from ..terms import describe
from .scorer import full_size

__all__ = ["LabelMap"]


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
        self._resize = Resize.read(bundle.image["segmenter"])
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
            (probabilities,) = self._cache.get((picture.key, "probabilities"), lambda: self._run(picture))
        with watch.stage("masks"):
            return [replace(describe(terms), score_map=self._map(probabilities, terms, picture)) for terms in prompts]

    def _run(self, picture: Picture) -> Arrays:
        """Return the probability of each label, (classes, h, w), over the whole image."""
        (logits,) = self._graph.run(pixel_values=self._resize.apply(picture.pixels, picture.size))
        height, width = self._resize.inside(picture.size, logits.shape[2:])
        inside = logits[0, :, :height, :width]
        odds = np.exp(inside - inside.max(axis=0))
        return (odds / odds.sum(axis=0),)

    def _map(self, probabilities: NDArray[np.float32], terms: Sequence[Term], picture: Picture) -> NDArray[np.float32]:
        return full_size(_scores(probabilities, [term.index for term in terms]), self._calibration, picture.size)


def _scores(probabilities: NDArray[np.float32], labels: Sequence[int]) -> NDArray[np.float32]:
    """Return the score of some labels together, (h, w) in 0..1, from the probabilities, (classes, h, w).

    It is their probability over the sum of it and that of the best other label. So for one label, a score above 0.5
    means that this label is the best one, however many others share the rest.
    """
    wanted = probabilities[list(labels)].sum(axis=0)
    other = np.delete(probabilities, list(labels), axis=0).max(axis=0, initial=0)
    return np.asarray(wanted / (wanted + other), np.float32)
