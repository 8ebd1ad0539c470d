"""Family `concept`: a picture and a short phrase give every object that the phrase describes, each with its mask.

Source: SAM 3, arXiv:2511.16719; scores, boxes and masks as in transformers' `post_process_instance_segmentation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..errors import ParameterError
from ..instance import Instance
from ..selection import Selection
from ..session import Session
from ..words.free_text import FreeText
from ..words.tokenizer import Tokenizer, Tokens
from .concept_graphs import EXEMPLARS, Concept, ConceptGraphs, Found, logistic
from .family import Picture, Prediction, Stopwatch
from .finders.finder import left_out
from .finders.ranking import best, distinct

__all__ = ["Concepts"]

_ADDED = "object"  # label of an object that an example finds without a prompt


class Concepts:
    """The graphs `vision_encoder`, `text_encoder` and `detector`, and a tokenizer; parameters as for `Family`.

    Each phrase of a prompt is a concept of its own. A box is an example: with it, the objects are found that look like
    what is in the box. That takes the graph `exemplar_encoder`, which a bundle may lack.

    Attributes
    ----------
    words
        Any text.
    reads_together
        False: no concept changes the scores of another.
    """

    reads_together = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._graphs = ConceptGraphs(bundle, sessions, cache)
        self.words = self.read_words(bundle)
        self._tokenizer = Tokenizer(bundle.folder / bundle.text["file"], bundle.text["max_length"])
        self._example: str = bundle.text["example"]
        self._calibration = bundle.calibration

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._graphs.device

    @staticmethod
    def read_words(bundle: Bundle) -> FreeText:
        """Return the open vocabulary, which is the same for every bundle."""
        del bundle
        return FreeText()

    @staticmethod
    def check_selection(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` for points, and for a box where the bundle cannot read examples."""
        if selection.points:
            requirement = f"be left out for {bundle.name!r}: it takes a box, as an example, but no points"
            raise ParameterError("points", requirement, selection.points)
        if selection.box is not None and EXEMPLARS not in bundle.graphs:
            requirement = f"be left out for {bundle.name!r}, which has no graph {EXEMPLARS!r}"
            raise ParameterError("box", requirement, selection.box)

    def predict(
        self, picture: Picture, prompts: Sequence[tuple[str, ...]], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each prompt, in order; a phrase that several prompts share is looked for once."""
        with watch.stage("text"):
            tokens = {phrase: self._tokenizer.encode(phrase) for prompt in prompts for phrase in prompt}
        concepts = {phrase: Concept(one.ids) for phrase, one in tokens.items()}
        found = self._detect(picture, concepts, watch)
        with watch.stage("masks"):
            return [
                self._choose(picture, {phrase: found[phrase] for phrase in prompt}, tokens, threshold)
                for prompt, threshold in zip(prompts, thresholds, strict=True)
            ]

    def select(
        self,
        picture: Picture,
        prompt: tuple[str, ...] | None,
        threshold: float,
        selection: Selection,
        watch: Stopwatch,
    ) -> Prediction:
        """Return the prediction for one prompt, an example or both, of the kept instances; see `Family.select`."""
        selection.check_size(picture.size)
        phrases = (self._example,) if prompt is None else prompt
        with watch.stage("text"):
            tokens = {phrase: self._tokenizer.encode(phrase) for phrase in phrases}
        concepts = {phrase: Concept(one.ids, selection.box) for phrase, one in tokens.items()}
        found = self._detect(picture, concepts, watch)
        with watch.stage("masks"):
            prediction = self._choose(picture, found, tokens, threshold)
        instances = [prediction.instances[index] for index in selection.pick(len(prediction.instances))]
        if prompt is None:
            instances = [replace(one, label=_ADDED) for one in instances]
            prediction = replace(prediction, labels=())
        return replace(prediction, instances=tuple(instances))

    def redraw(self, picture: Picture, prediction: Prediction, watch: Stopwatch) -> Prediction:
        """Return the prediction as it is: the graphs have no closer view of one object."""
        del picture, watch
        return prediction

    def _detect(self, picture: Picture, concepts: Mapping[str, Concept], watch: Stopwatch) -> dict[str, Found]:
        """Return what was found for each phrase; phrases with the same tokens are one concept."""
        single = list(dict.fromkeys(concepts.values()))
        found = dict(zip(single, self._graphs.detect(picture, single, watch), strict=True))
        return {phrase: found[concept] for phrase, concept in concepts.items()}

    def _choose(
        self, picture: Picture, found: Mapping[str, Found], tokens: Mapping[str, Tokens], threshold: float
    ) -> Prediction:
        """Return the best objects of the phrases of one prompt; one that two phrases describe is taken once."""
        dropped = tuple(words for phrase in found for words in tokens[phrase].dropped)
        warnings = tuple(dict.fromkeys(warning for phrase in found for warning in tokens[phrase].warnings))
        boxes, scores = (np.concatenate([getattr(one, name) for one in found.values()]) for name in ("boxes", "scores"))
        at = [(phrase, row) for phrase, one in found.items() for row in range(len(one.scores))]
        single = distinct(boxes, scores, [phrase for phrase, _ in at], threshold)
        order, most = best(boxes[single], scores[single], threshold)
        if most < len(order) or any((one.others >= threshold).any() for one in found.values()):
            warnings = (*warnings, left_out(most, threshold))
        chosen = [at[single[index]] for index in order[:most]]
        semantic = np.maximum.reduce([one.semantic for one in found.values()])
        return Prediction(
            labels=tuple(found),
            dropped=dropped,
            warnings=warnings,
            instances=tuple(_instance(phrase, found[phrase], row, picture.size) for phrase, row in chosen),
            score_map=self._score_map(semantic, picture.size),
            by_instances=True,
        )

    def _score_map(self, semantic: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return calibrated scores of the pixels, (H, W), from logits, (h, w).

        As in transformers, probabilities are interpolated; they are calibrated after that, or the threshold would move.
        """
        scores = np.asarray(cv2.resize(logistic(semantic), size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        # As a sum of bends, which is many times faster on whole images than np.interp.
        raw, calibrated = np.array(self._calibration, np.float32).T
        slopes = np.diff(calibrated) / np.diff(raw)
        result = np.asarray(scores * slopes[0], np.float32)
        for at, change in zip(raw[1:-1], np.diff(slopes), strict=True):
            bent = np.maximum(scores - at, 0)
            bent *= change
            result += bent
        return result


def _instance(phrase: str, found: Found, row: int, size: tuple[int, int]) -> Instance:
    left, top, right, bottom = found.boxes[row].tolist()
    return Instance(phrase, float(found.scores[row]), (left, top, right, bottom), size, found.masks[row])
