"""Family `boxes`: a finder finds boxes for the words, and a drawer draws one mask into each box.

A manifest names both under ``kinds``: ``{"finder": "picodet", "drawer": "sam"}``, which is also what a manifest without
them means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..instance import Instance
from ..selection import Selection
from ..session import Session
from .drawers import DRAWERS, Drawer, Hint
from .family import Picture, Prediction, Stopwatch, Words
from .finders import FINDERS, Detections, Finder
from .kinds import choose
from .selecting import NOTHING, select

__all__ = ["Boxes"]

_MOST_REDRAWN = 8  # objects of a prompt: each takes one more encoding
_Drawn = Mapping[tuple[float, ...], NDArray[np.float32]]  # logits by box


class Boxes:
    """Any finder with any drawer; parameters and errors as for `Family`.

    Attributes
    ----------
    words
        The words that the finder understands.
    reads_together
        Whether prompts of one call change each other's scores, which depends on the finder.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._finder: Finder[Any] = _finder(bundle)(bundle, sessions, cache)
        self._drawer: Drawer = _drawer(bundle)(bundle, sessions, cache)
        self.words, self.reads_together = self._finder.words, self._finder.reads_together

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._drawer.device

    @staticmethod
    def read_words(bundle: Bundle) -> Words[Any]:
        """Read what the finder of a bundle understands."""
        return _finder(bundle).read_words(bundle)

    @staticmethod
    def check_selection(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` if the drawer of a bundle cannot use the box or the points."""
        _drawer(bundle).check(bundle, selection)

    def predict(
        self, picture: Picture, prompts: Sequence[Any], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each prompt, in order; a box that several prompts share is drawn once."""
        found = self._finder.find(picture, prompts, thresholds, watch)
        boxes = list(dict.fromkeys(tuple(box) for one in found for box in one.boxes.tolist()))
        logits = self._drawer.draw(picture, np.array(boxes, np.float32), watch) if boxes else []
        drawn = dict(zip(boxes, logits, strict=True))
        return [replace(one.prediction, instances=_instances(one, drawn, picture.size)) for one in found]

    def select(
        self, picture: Picture, prompt: object, threshold: float, selection: Selection, watch: Stopwatch
    ) -> Prediction:
        """Return the prediction for one prompt and a selection; see `Family.select`."""
        selection.check_size(picture.size)
        found = NOTHING
        if prompt is not None:
            (found,) = self._finder.find(picture, [prompt], [threshold], watch)
        return select(self._drawer, picture, found, selection, watch)

    def redraw(self, picture: Picture, prediction: Prediction, watch: Stopwatch) -> Prediction:
        """Return the prediction with its largest instances, at most 8, drawn again from a closer view."""
        by_area = sorted(prediction.instances, key=lambda instance: -_area(instance.box))
        largest = {id(instance) for instance in by_area[:_MOST_REDRAWN]}
        instances = [
            replace(one, logits=self._drawer.redraw(picture, Hint(one.box, one.points), one.logits, watch))
            if id(one) in largest
            else one
            for one in prediction.instances
        ]
        return replace(prediction, instances=tuple(instances))


def _instances(found: Detections, drawn: _Drawn, size: tuple[int, int]) -> tuple[Instance, ...]:
    return tuple(
        Instance(label, score, (left, top, right, bottom), size, drawn[left, top, right, bottom])
        for label, score, (left, top, right, bottom) in zip(
            found.labels, found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    )


def _area(box: tuple[float, float, float, float]) -> float:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _finder(bundle: Bundle) -> type[Finder[Any]]:
    return choose(bundle, "finder", FINDERS, "picodet")


def _drawer(bundle: Bundle) -> type[Drawer]:
    return choose(bundle, "drawer", DRAWERS, "sam")
