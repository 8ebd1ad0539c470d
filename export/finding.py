"""What the runtime's own finder makes of staged graphs, for the comparison with a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from automask.bundle import Bundle
from automask.cache import Arrays, ByteCache
from automask.families.family import Picture, Stopwatch
from automask.families.finders import FINDERS
from automask.session import Session

from .agreement_boxes import FoundBoxes
from .parity import Array, Image

__all__ = ["calibrate", "find_boxes", "new_cache"]


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
    picture = Picture(image, image.shape[:2], hashlib.sha256(image.tobytes()).digest(), image)
    found = [finder.find(picture, [prompt], [0.0], Stopwatch())[0] for prompt in prompts]
    return [FoundBoxes(one.boxes, one.scores, one.labels) for one in found]


def new_cache() -> ByteCache[Arrays]:
    """Return a cache that holds what a comparison computes."""
    return ByteCache[Arrays](1 << 30, lambda arrays: sum(array.nbytes for array in arrays))


def calibrate(bundle: Bundle, scores: Array) -> Array:
    """Return the calibrated scores of raw ones."""
    raw, calibrated = zip(*bundle.calibration, strict=True)
    return np.asarray(np.interp(scores, raw, calibrated), np.float32)
