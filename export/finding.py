"""What the runtime's own finder makes of staged graphs, for the comparison with a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from automask.bundle import Bundle
from automask.cache import Arrays, ByteCache
from automask.families import FAMILIES
from automask.families.family import Picture, Stopwatch
from automask.families.finders import FINDERS
from automask.session import Input, Session

from .agreement_boxes import FoundBoxes
from .agreement_instances import Detections
from .parity import Array, Image

__all__ = ["calibrate", "find_boxes", "find_instances", "new_cache"]


def find_boxes(bundle: Bundle, graphs: Mapping[str, Session], image: Image, prompts: Sequence[Any]) -> list[FoundBoxes]:
    """Return the best objects for each prompt, without a threshold.

    Parameters
    ----------
    bundle
        Its finder takes the graphs.
    graphs
        By role.
    image
        RGB, (height, width, 3).
    prompts
        As the finder's words resolve them: phrases, or terms. Each is looked for in a pass of its own.
    """
    finder = FINDERS[bundle.kinds["finder"]](bundle, dict(graphs), new_cache())
    picture = _picture(image)
    found = [finder.find(picture, [prompt], [0.0], Stopwatch())[0] for prompt in prompts]
    return [FoundBoxes(one.boxes, one.scores, one.labels) for one in found]


def find_instances(
    bundle: Bundle, graphs: Mapping[str, Session], image: Image, phrase: str
) -> tuple[FoundBoxes, Detections]:
    """Return the best objects of a concept, without a threshold, and the outputs of the detector behind them.

    Parameters
    ----------
    bundle
        Of the family `concept`.
    graphs
        By role.
    image
        RGB, (height, width, 3).
    phrase
        Looked for by itself.
    """
    detector = _Recorder(graphs["detector"])
    family = FAMILIES[bundle.family](bundle, {**graphs, "detector": detector}, new_cache())
    (found,) = family.predict(_picture(image), [(phrase,)], [0.0], Stopwatch())
    boxes = np.array([one.box for one in found.instances], np.float32).reshape(-1, 4)
    scores = np.array([one.score for one in found.instances], np.float32)
    labels = tuple(one.label for one in found.instances)
    return FoundBoxes(boxes, scores, labels), Detections({name: one[0] for name, one in detector.results.items()})


class _Recorder(Session):
    """A session that keeps the outputs of its last run."""

    def __init__(self, session: Session) -> None:
        self._recorded = session
        self.device, self.memory, self.outputs = session.device, session.memory, session.outputs
        self.results: dict[str, Array] = {}

    def run(self, **inputs: Input) -> tuple[Array, ...]:
        outputs = self._recorded.run(**inputs)
        self.results = dict(zip(self.outputs, outputs, strict=True))
        return outputs


def _picture(image: Image) -> Picture:
    return Picture(image, image.shape[:2], hashlib.sha256(image.tobytes()).digest(), image)


def new_cache() -> ByteCache[Arrays]:
    """Return a cache that holds what a comparison computes."""
    return ByteCache[Arrays](1 << 30, lambda arrays: sum(array.nbytes for array in arrays))


def calibrate(bundle: Bundle, scores: Array) -> Array:
    """Return the calibrated scores of raw ones."""
    raw, calibrated = zip(*bundle.calibration, strict=True)
    return np.asarray(np.interp(scores, raw, calibrated), np.float32)
