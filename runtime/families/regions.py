"""Family `regions`: one graph gives masks, each with a score for every label; prompts choose among the labels.

Sources: Mask2Former (arXiv:2112.01527), EoMT (arXiv:2503.19108); scores as in the post-processing of transformers,
`post_process_instance_segmentation`: the probability of the label times the mean probability inside the mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..device_resize import read_resize
from ..errors import ParameterError
from ..instance import Instance
from ..selection import Selection
from ..session import Session
from ..words.meaning import Term
from ..words.vocabulary import Vocabulary
from .extent import extent
from .family import Picture, Prediction, Stopwatch
from .finders.finder import MAX_INSTANCES, left_out, most_drawn
from .terms import describe

__all__ = ["Regions"]


class Regions:
    """The graph `segmenter` and a vocabulary; parameters and errors as for `Family`.

    A label is of things, which are countable, or of stuff: "sky". Each thing is an instance; all masks of a stuff
    label are one instance. The manifest lists the indices of the stuff labels under ``text.stuff``.
    Masks and scores depend on the image alone and are cached.

    Attributes
    ----------
    words
        The vocabulary.
    reads_together
        False: no prompt changes the scores of another.
    """

    reads_together = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._graph, self._cache = sessions["segmenter"], cache
        self.words = self.read_words(bundle)
        self._stuff = frozenset(bundle.text["stuff"])
        self._resize = read_resize(bundle.image["segmenter"], self._graph)
        self._calibration = np.array(bundle.calibration, np.float32).T
        size = self._resize.size
        bundle.require(
            "segmenter",
            inputs={"pixel_values": (None, 3, size, size)},
            outputs={"class_logits": (None, None, len(self.words.labels) + 1), "mask_logits": (None,) * 4},
        )

    @property
    def device(self) -> str:
        """The device on which the graph runs."""
        return self._graph.device

    @staticmethod
    def read_words(bundle: Bundle) -> Vocabulary:
        """Read the vocabulary of a bundle."""
        return Vocabulary.from_file(bundle.folder / bundle.text["file"])

    @staticmethod
    def check_selection(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` for a box or points: this family draws no masks for them."""
        for name in ("box", "points"):
            if name in selection.names:
                requirement = f"be left out for {bundle.name!r}, which draws its masks without boxes and points"
                raise ParameterError(name, requirement, getattr(selection, name))

    def predict(
        self,
        picture: Picture,
        prompts: Sequence[tuple[Term, ...]],
        thresholds: Sequence[float],
        watch: Stopwatch,
    ) -> list[Prediction]:
        """Return one prediction for each prompt, in order; together they cost one run of the graph."""
        with watch.stage("encode"):
            scores, masks = self._cache.get((picture.key, "regions"), lambda: self._run(picture))
        with watch.stage("masks"):
            return [
                self._choose(scores, masks, terms, threshold, picture.size)
                for terms, threshold in zip(prompts, thresholds, strict=True)
            ]

    def select(
        self,
        picture: Picture,
        prompt: tuple[Term, ...] | None,
        threshold: float,
        selection: Selection,
        watch: Stopwatch,
    ) -> Prediction:
        """Return the prediction for one prompt with the instances that the selection keeps; see `Family.select`."""
        assert prompt is not None, "a selection without box and points needs a prompt"  # noqa: S101
        (found,) = self.predict(picture, [prompt], [threshold], watch)
        kept = selection.pick(len(found.instances))
        return replace(found, instances=tuple(found.instances[index] for index in kept))

    def redraw(self, picture: Picture, prediction: Prediction, watch: Stopwatch) -> Prediction:
        """Return the prediction as it is: the graph has no closer view of one object."""
        del picture, watch
        return prediction

    def _run(self, picture: Picture) -> Arrays:
        """Return calibrated scores, (n, labels), and mask logits over the whole image, (n, h, w), of n masks."""
        classes, masks = self._graph.run(pixel_values=self._resize.apply(picture.pixels, picture.size))
        height, width = self._resize.inside(picture.size, masks.shape[2:])
        masks = masks[0, :, :height, :width]
        odds = np.exp(classes[0] - classes[0].max(axis=1, keepdims=True))
        probabilities = odds[:, :-1] / odds.sum(axis=1, keepdims=True)  # the last class is "no object"
        raw, calibrated = self._calibration
        scores = np.interp(probabilities * _quality(masks)[:, None], raw, calibrated)
        drawn = (masks > 0).any(axis=(1, 2))
        return scores[drawn].astype(np.float32), np.ascontiguousarray(masks[drawn])

    def _choose(
        self,
        scores: NDArray[np.float32],
        masks: NDArray[np.float32],
        terms: Sequence[Term],
        threshold: float,
        size: tuple[int, int],
    ) -> Prediction:
        """Return the masks of one prompt; each of them has the best one of the prompt's labels."""
        chosen = scores[:, [term.index for term in terms]]
        best = chosen.max(axis=1)
        order = [int(at) for at in np.argsort(-best, kind="stable") if best[at] >= threshold]
        most = most_drawn([float(best[at]) for at in order[:MAX_INSTANCES]])
        prediction = describe(terms)
        if most < len(order):
            prediction = replace(prediction, warnings=(*prediction.warnings, left_out(most, threshold)))
        groups = self._group(order[:most], {at: terms[int(chosen[at].argmax())] for at in order[:most]})
        instances = [
            Instance(label, float(best[group].max()), box, size, logits)
            for label, group in groups
            for logits in [masks[group].max(axis=0)]
            for box in [extent(logits, size)]
            if box is not None
        ]
        return replace(prediction, instances=tuple(instances))

    def _group(self, order: Sequence[int], terms: Mapping[int, Term]) -> list[tuple[str, list[int]]]:
        """Return each instance's label and masks, best first: one mask for a thing, all of a label for stuff."""
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for at in order:
            term = terms[at]
            groups[term.label, -1 if term.index in self._stuff else at].append(at)
        return [(label, group) for (label, _), group in groups.items()]


def _quality(masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean probability inside each mask, (n,), from logits, (n, h, w); 0 for an empty mask."""
    inside = masks > 0
    probabilities = np.where(inside, 0.5 + 0.5 * np.tanh(0.5 * masks), 0)
    return np.asarray(probabilities.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1), np.float32)
